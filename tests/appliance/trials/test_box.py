"""A whole box: a version that fails its trial changes nothing, one that passed is known."""

from collections.abc import Callable
from pathlib import Path

from appliance.shipped import classifier_folder
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, tarred
from tests.appliance.service import Service, appliance

CLASSIFIER = (classifier_folder() / "classifier.wasm").read_bytes()


def bundle(label: str, picture: bytes) -> bytes:
    """Pack the classifier with a golden sample."""
    manifest = f'[sample]\npicture = "golden/cup.jpg"\nlabel = ["{label}", "no such"]\n'
    return gzipped(
        tarred(
            ("cup/app.toml", manifest.encode()), ("cup/golden/cup.jpg", picture),
            ("cup/app.wasm", CLASSIFIER), ("cup/README.md", b"for people"),
        )
    )  # fmt: skip


def test_a_version_that_knows_its_sample_no_more_is_refused(
    service: Service, read_sample: Callable[[str], bytes]
) -> None:
    """By the socket: the old one answers, and not a file of the new one is there."""
    coffee = read_sample("coffee.jpg")
    good = service.http.put("/v1/apps/cup", content=bundle("espresso", coffee))
    before = service.files()
    bad = service.http.put("/v1/apps/cup", content=bundle("tabby", coffee))

    assert (200, 422) == (good.status_code, bad.status_code)
    assert "sample golden/cup.jpg: got espresso at 0." in bad.json()["error"]
    assert "wanted tabby or no such" in bad.json()["error"]
    assert before == service.files()
    version = good.json()["version"]
    assert f"apps/cup/{version}/files/golden/cup.jpg" in before
    assert ["espresso"] == service.labels("cup", coffee)


def test_what_passed_is_not_tried_again(service: Service, picture: bytes) -> None:
    """Neither at a restart nor when it is deployed again."""
    for label in ("one", "two"):
        assert 200 == service.deploy("cat", guests.labelled(label)).status_code
    service.end()
    service.start()
    restored = service.labels("cat", picture)
    again = service.deploy("cat", guests.labelled("one"))

    assert (["two"], 200, ["one"]) == (restored, again.status_code, service.labels("cat", picture))
    assert 2 == service.log.read_text().count("trial passed app=cat")


def test_check_says_the_same_without_a_box(
    tmp_path: Path, read_sample: Callable[[str], bytes]
) -> None:
    """`appliance check`: good, or the sentence and exit status 1."""
    coffee = read_sample("coffee.jpg")
    for label in ("espresso", "tabby"):
        (tmp_path / f"{label}.tar.gz").write_bytes(bundle(label, coffee))
    good, bad = (
        appliance("check", tmp_path / f"{label}.tar.gz", "--state", tmp_path / "state")
        for label in ("espresso", "tabby")
    )

    assert (0, b"") == (good.returncode, good.stderr)
    assert b"its sample golden/cup.jpg: espresso 0." in good.stdout
    assert (1, b"") == (bad.returncode, bad.stdout)
    assert b"got espresso at 0." in bad.stderr
    assert not (tmp_path / "state").exists()
