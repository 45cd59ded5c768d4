"""The version of this process: what it was started from, not what has been installed on the disk since."""

from importlib.metadata import version

VERSION = version("balancer")
