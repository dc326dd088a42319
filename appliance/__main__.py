"""`python -m appliance` is `appliance`; `serve` goes to its supervisor, which imports little."""

import sys

# With these it is the service itself, or only words about it.
_NOT_SUPERVISED = {"--help", "--link", "--no-supervisor"}


def main() -> None:
    """Run the command line; the console script."""
    given = {argument.partition("=")[0] for argument in sys.argv[1:]}
    if sys.argv[1:2] == ["serve"] and not given & _NOT_SUPERVISED:
        from appliance.supervision.parent import supervise

        # A console script imports nothing from the folder it is called in; nor may its service.
        is_script = not sys.argv[0].endswith("__main__.py")
        program = [sys.executable, *(["-P"] if is_script else []), "-m", "appliance"]
        supervise(program, sys.argv[1:])
    else:
        from appliance.cli import main as run

        run()


if __name__ == "__main__":
    main()
