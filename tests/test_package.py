import doctest
import subprocess
import sys

import pytest

import unmask


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split()) & {"torch", "transformers"}


@pytest.mark.parametrize("statement", ["import unmask", "import wirework", "import unmask.stats"])
def test_importing_loads_nothing_heavy(statement):
    assert loaded_by(statement) == set()


def test_using_a_name_loads_what_it_needs():
    assert loaded_by("import unmask; unmask.audit") == {"torch", "transformers"}


def test_every_public_name_is_there():
    for name in unmask.__all__:
        assert getattr(unmask, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fuzz'"):
        unmask.fuzz  # noqa: B018


def test_examples_in_docstrings_hold():
    import unmask.api
    import unmask.models.rows

    for module in (unmask.api, unmask.models.rows):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
