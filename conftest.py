"""What the examples in docstrings rely on."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def example(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip examples that need torch where it is absent, and forget the methods they register."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    if request.node.name.startswith("unrolled."):
        pytest.importorskip("torch")
    from deconv import methods

    # Other tests go over all methods.
    known = {method.name for method in methods.all()}
    yield
    for name in methods._registry.keys() - known:
        del methods._registry[name]
