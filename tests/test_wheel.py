"""The wheel holds the package, the data set recipes and the suites, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_carries_recipes_and_suites(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "usermodel/py.typed" in names
    assert "usermodel/_datasets/README.md" in names
    assert "usermodel/_suites/next_item.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"usermodel"}
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "usermodel").rglob("*.py")}
    assert source <= set(names)
