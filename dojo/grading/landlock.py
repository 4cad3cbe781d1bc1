"""`python -m dojo.grading.landlock POLICY COMMAND...`: runs a command confined by Landlock and seccomp."""

from __future__ import annotations

import json
import sys


def main(policy: str, *command: str) -> int:
    from sandlock import Sandbox

    return int(Sandbox(**json.loads(policy)).run_interactive(command))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
