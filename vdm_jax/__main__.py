"""`python -m vdm_jax COMMAND …`."""

import sys

from vdm_jax.cli import main

sys.exit(main())
