"""Write the golden files of the release that is being made: ``python tests/upgrade/write_golden.py 0.3.0``."""

import json
import sys
from pathlib import Path

import msgspec
from handed import counters, handover, small

from balancer.control import active_config
from balancer.upgrade import state

if __name__ == "__main__":
    folder = Path(__file__).parent / "golden" / sys.argv[1]
    folder.mkdir(parents=True, exist_ok=True)
    forms = {"handover": json.loads(state.dump(handover())), "counters": msgspec.to_builtins(counters())}
    forms["config"] = {"msgpack": active_config.dump(small()).hex()}
    for name, form in forms.items():
        (folder / f"{name}.json").write_text(json.dumps(form, indent=1) + "\n")
