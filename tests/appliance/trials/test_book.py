"""What is remembered of trials: while all is the same, bounded, and never worth a failed start."""

from pathlib import Path

import pytest

from appliance.trials.book import KEPT, Trial, TrialBook, key_of, print_of_folder

TRIAL = Trial("s.png", 0.5, "cat", 0.25, ("careful",), ("tiny",))


def book(folder: Path, prints: dict[str, str] | None = None) -> TrialBook:
    return TrialBook(folder / "cache" / "trials.json", lambda name: (prints or {}).get(name, ""))


def test_a_trial_is_found_again_by_another_book(tmp_path: Path) -> None:
    """All of it."""
    book(tmp_path).note("k", TRIAL)

    assert (TRIAL, None) == (book(tmp_path).find("k"), book(tmp_path).find("other"))


def test_another_model_makes_it_count_no_more(tmp_path: Path) -> None:
    """Also one that was not there, and has come."""
    prints: dict[str, str] = {}
    made = book(tmp_path, prints)
    made.note("k", TRIAL)
    before = made.find("k")
    prints["tiny"] = "1"

    assert (TRIAL, None) == (before, made.find("k"))


def test_the_book_is_bounded(tmp_path: Path) -> None:
    """Who was asked about last stays."""
    made = book(tmp_path)
    for number in range(KEPT):
        made.note(str(number), TRIAL)
    made.find("0")
    made.note("new", TRIAL)

    assert (TRIAL, None, TRIAL) == (made.find("0"), made.find("1"), made.find("new"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'[["k", {}, {}]]', b'[["k", null, 1]]', b"\xff", b"[" * 100_000]
)
def test_a_damaged_file_costs_trials_only(tmp_path: Path, content: bytes) -> None:
    """It is as if nothing had been tried."""
    file = tmp_path / "cache" / "trials.json"
    file.parent.mkdir()
    file.write_bytes(content)

    assert book(tmp_path).find("k") is None


def test_a_folders_print_sees_every_change(tmp_path: Path) -> None:
    """A file put, written in place, removed; another folder; none."""
    (tmp_path / "a").mkdir()
    seen = [print_of_folder(tmp_path / "a")]
    (tmp_path / "a" / "x").write_bytes(b"1")
    seen.append(print_of_folder(tmp_path / "a"))
    (tmp_path / "a" / "x").write_bytes(b"22")
    seen += [print_of_folder(tmp_path / "a"), print_of_folder(tmp_path)]

    assert len(seen) == len(set(seen))
    assert print_of_folder(tmp_path / "a") == seen[2]
    assert key_of(1, "a") != key_of(1, "b")
