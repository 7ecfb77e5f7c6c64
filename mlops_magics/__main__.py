"""``python -m mlops_magics`` is the command ``mlops``."""

from mlops_magics.cli import main

if __name__ == "__main__":
    main()
