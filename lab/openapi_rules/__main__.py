"""`python3 -m lab lint`: docs/openapi.yaml by all that Redocly and Spectral recommend, without a finding.

What is excepted of them is in the files beside this one, with its reason.
"""

from pathlib import Path

from scripts import options
from scripts.clients import DOCUMENT
from scripts.stack import children, system_packages

FOLDER = Path(__file__).parent
LINTERS = {
    "Redocly": f"redocly lint --config={FOLDER}/redocly.yaml",
    "Spectral": f"spectral lint --ruleset={FOLDER}/spectral.yaml --fail-severity=hint",
}
WITHIN_SECONDS = 300


def main() -> int:
    options.read("lab lint")
    return max(map(lint, LINTERS))


def lint(name: str) -> int:
    """The exit code of the linter, whose findings are printed. Raises SetupError."""
    program, *words = LINTERS[name].split()
    installed = system_packages.npm_packages(FOLDER)
    ran = children.run(
        [installed / "node_modules/.bin" / program, *words, DOCUMENT], within_seconds=WITHIN_SECONDS
    )
    children.say(f"{name}: {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.returncode


if __name__ == "__main__":
    children.end_with(main)
