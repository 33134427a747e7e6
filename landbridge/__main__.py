"""``python -m landbridge``: the command line, for programs that start modules, such as torchrun."""

from landbridge.cli.main import main

if __name__ == "__main__":
    main()
