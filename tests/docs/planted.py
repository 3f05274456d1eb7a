"""Mistakes that the checks must find. Each is planted in a correct page."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import static
from pages import read
from runner import Failed, run_page

RIGHT = """\
# A page

<!-- docs-run: upstream=127.0.0.1:8000 gateway=127.0.0.1:8080 admin=127.0.0.1:8081 -->

See [below](#the-second-part) and [the other page](other.md#other).

<!-- saved as: note.txt -->
```text
one note
```

```sh
export VOXGATE_UPSTREAM=http://127.0.0.1:8000
export VOXGATE_KEYS_FILE=keys.toml
voxgate key new --id ivr-prod > token
mkdir inner && cd inner && cd ..
voxgate serve   # in another terminal
```

## The second part

1. In a list:

   ```console
   $ cat note.txt
   one note
   $ curl -s http://127.0.0.1:8080/
   missing headers
   $ curl -s http://127.0.0.1:8081/readyz && echo
   re…y
   $ printf 'a\\nb\\nc\\n'
   a
   …
   ```

<!-- not run: needs a cluster -->
```sh
kubectl delete namespace kube-system
```
"""

# The text to replace, its replacement, and a part of the expected report.
MISTAKES = (
    ("one note\n   $ curl", "another note\n   $ curl", "the page shows"),
    ("missing headers", "invalid api key", "the page shows"),
    ("re…y", "re…x", "the page shows"),
    ("   a\n   …", "   b\n   …", "the page shows"),
    ("--id ivr-prod", "--idd ivr-prod", "exit status 64"),
    ("mkdir inner && cd inner", "false", "exit status 1"),
    ("mkdir inner && cd inner && cd ..", "echo $NEVER_SET", "exit status"),
    ("http://127.0.0.1:8000\n", "nonsense\n", "the gateway did not start"),
    ("KEYS_FILE=keys.toml", "KEYS_FIEL=keys.toml", "is no setting"),
    ("gateway=127.0.0.1:8080 admin=127.0.0.1:8081", "", "has to declare"),
    ("docs-run: upstream", "docs-run: upstraem", "docs-run knows"),
    (" admin=127.0.0.1:8081", "", "127.0.0.1:8081 is not declared"),
    ("<!-- not run: needs a cluster -->\n", "", "exit status"),
    ("needs a cluster", "too hard", "is no reason"),
    ("needs a cluster -->\n", "needs a cluster -->\n\n", "no block directly below"),
    ("<!-- not run: needs", "<!-- not-run: needs", "not in the form"),
    ("#the-second-part", "#the-third-part", "no such heading"),
    ("other.md#other", "other.md#another", "no such heading"),
    ("other.md#other", "nowhere.md", "no such file"),
)


def found(root: Path, text: str, voxgate: Path, log: Path, known: set[str]) -> list[str]:
    path = root / "README.md"
    path.write_text(text)
    page = read(path)
    problems = list(static.problems(root, [page], known))
    try:
        # A cluster is never used, even if a mistake lets the block run.
        for block in page.blocks:
            block.text = block.text.replace("kubectl", "kubectl-of-nobody")
        run_page(page, voxgate, log)
    except Failed as failed:
        problems.append(str(failed))
    return problems


def check(voxgate: Path, log: Path, known: set[str]) -> int:
    missed = 0
    with tempfile.TemporaryDirectory(prefix="voxgate-docs-") as folder:
        root = Path(folder).resolve()
        (root / "other.md").write_text("# Other\n")
        if problems := found(root, RIGHT, voxgate, log, known):
            print("the page without mistakes:", *problems, sep="\n", file=sys.stderr)
            return 1
        long = RIGHT + "word\n" * static.README_LINES
        for old, new, expected in (*MISTAKES, ("# A page", None, "at most")):
            text = long if new is None else RIGHT.replace(old, new, 1)
            assert text != RIGHT, old
            problems = found(root, text, voxgate, log, known)
            if not any(expected in problem for problem in problems):
                missed += 1
                print(f"{old!r} → {new!r} was not found: {problems}", file=sys.stderr)
    print(f"{len(MISTAKES) + 1 - missed} of {len(MISTAKES) + 1} planted mistakes were found")
    return 1 if missed else 0
