"""`appliance demo`, end to end, as in the README."""

from tests.appliance.service import appliance


def test_the_demo_classifies_and_ends_well() -> None:
    """A box is started, fed and stopped; the cat and the espresso are recognised."""
    done = appliance("demo")
    told = done.stdout.decode()

    assert (0, b"") == (done.returncode, done.stderr)
    assert [] == [word for word in ("Egyptian cat", "espresso", "curl --unix-socket")
                  if word not in told]  # fmt: skip
    assert told.endswith("done\n")
