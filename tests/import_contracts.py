"""Import contracts of this project that import-linter does not bring along; ``make check`` runs them."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

from landbridge.models import registry


class IndependentMethods(Contract):
    """No method's file imports another method's file; what two methods share is in their family or common/.

    The files come from the registry, so that a new method is watched without a line elsewhere.
    """

    type_name = "independent_methods"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Every direct import between two methods' files breaks the contract."""
        files = {target.partition(":")[0] for target in registry.METHODS.values()}
        wrong = [
            f"{importer} -> {imported}"
            for importer in sorted(files)
            for imported in sorted(graph.find_modules_directly_imported_by(importer) & files)
            if importer != imported
        ]
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """The offending imports, one per line."""
        for line in check.metadata["wrong"]:
            output.print_error(f"A method's file imports another method's file: {line}")
