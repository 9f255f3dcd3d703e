"""kubectl renders every overlay to its golden file, and the published schemas accept what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kubernetes_validate
import pytest

from tests.deploy.manifests import GOLDEN, RENDERED, golden, render, renews

if TYPE_CHECKING:
    from pathlib import Path

#: The oldest and the newest that the package has.
VERSIONS = ("1.36.0", kubernetes_validate.latest_version())
#: Of the Prometheus Operator, not of Kubernetes: their schemas are not in the package.
FOREIGN = ("monitoring.coreos.com/v1",)


@pytest.mark.parametrize("name", RENDERED)
def test_the_golden_file_is_what_kubectl_renders(name: str, tmp_path: Path) -> None:
    text = render(name, tmp_path)
    if renews():
        (GOLDEN / f"{name}.yaml").write_text(text)
    assert text == (GOLDEN / f"{name}.yaml").read_text(), "if that is intended: make manifests"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERED)
def test_the_published_schemas_accept_every_object(name: str, version: str) -> None:
    kinds = [document for document in golden(name) if document["apiVersion"] not in FOREIGN]
    assert kinds
    for document in kinds:
        assert kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_an_unknown_field() -> None:
    [namespace] = [each for each in golden("one-node") if each["kind"] == "Namespace"]
    with pytest.raises(kubernetes_validate.ValidationError, match="colour"):
        kubernetes_validate.validate(namespace | {"colour": "blue"}, VERSIONS[-1], strict=True)
