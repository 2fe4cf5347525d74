"""``python -m freqlab``: the command line, also where the package is not installed."""

from freqlab.cli import main

if __name__ == "__main__":
    main()
