"""`python -m appliance` is `appliance`; `serve` goes to its supervisor, which imports little."""

import sys

if sys.argv[1:2] == ["serve"] and not {"--help", "--link", "--no-supervisor"} & {
    argument.partition("=")[0] for argument in sys.argv
}:
    from appliance.supervision.parent import supervise

    supervise([sys.executable, "-m", "appliance"], sys.argv[1:])
else:
    from appliance.cli import main

    main()
