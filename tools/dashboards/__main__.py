"""`python -m tools.dashboards write` writes the files of the dashboards; `show` has them in a browser,
`check` holds those of Grafana against its own types.
"""

from __future__ import annotations

import sys

from tools.dashboards import files


def main() -> int:
    match sys.argv[1:]:
        case ["write"]:
            files.write()
            return 0
        case ["show"]:
            from tools.dashboards import show

            return show.main()
        case ["check"]:
            from tools.dashboards import schema

            return schema.check()
    print("python -m tools.dashboards write | show | check", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
