"""`python -m balancer` is the console script."""

from balancer.cli import main

raise SystemExit(main())
