"""`python -m releo_jax.cli`: the command where its script is not on the path."""

import sys

from releo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
