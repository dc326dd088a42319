"""`appliance demo`, end to end, as in the README."""

from tests.appliance.service import appliance


def test_the_demo_classifies_and_ends_well() -> None:
    """A box is started, fed and stopped; cat and espresso are recognised, standing and moving."""
    done = appliance("demo")
    told = done.stdout.decode()

    assert (0, b"") == (done.returncode, done.stderr)
    assert [] == [word for word in ("Egyptian cat", "espresso", "curl --unix-socket")
                  if word not in told]  # fmt: skip
    film = told[told.index("4. a camera") : told.index("5. ")]
    assert [] == [word for word in ("Egyptian cat", "espresso", "frames predicted") if
                  word not in film]  # fmt: skip
    assert told.endswith("done\n")
