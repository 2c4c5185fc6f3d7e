"""A model as one graph, for machines without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.cli._console import find_images, out, print_line, print_text
from pellucid.cli._options import CheckImages, Device, ExportOutput, GraphFormat, Int8, ModelFile

if TYPE_CHECKING:
    from pellucid.models.export import ExportHeader

MAX_CHECK_IMAGES = 32
WHOLE_TILES = (
    "this int8 graph computes whole tiles where its gate lets a candidate pass, not the smaller squares that the model"
    " file does: nothing more is lost, but good glass with many candidates takes longer"
)


def export(
    model: ModelFile,
    output: ExportOutput,
    format: GraphFormat = "openvino",
    check: CheckImages = None,
    int8: Int8 = None,
    device: Device = "auto",
) -> None:
    """Write a model as one graph, from pixels to map and score, that inspects without torch.

    Reads a model file. Writes a folder with the graph and model.json, in which the limit may be edited; `pellucid
    inspect` and `pellucid serve` take it in place of a model file. The graph is compared with torch first, and not
    written where they disagree; prints the largest difference.

    ```
    pellucid export glass.pellucid -o exported
    ```
    """
    from pellucid.models.load import load

    images = [] if check is None else find_images([check]).images
    images = images[:: -(-len(images) // MAX_CHECK_IMAGES) or 1]  # spread over all of them
    inspector = load(model, device=device)
    header = inspector.export(output, format, images=images, int8=int8)
    _print_agreement(header, f"{len(images)} images" if images else "drawn panes of glass")
    if int8 is not None and inspector.gate is not None and inspector.gate.close_ups:
        print_text(out, WHOLE_TILES)
    print_line(out, f"wrote {output}; its limit may be edited in {output / 'model.json'}")


def _print_agreement(header: ExportHeader, compared: str) -> None:
    """How far the graph is from torch and, with integers, how alike they rank."""
    from pellucid.models.export import TOLERANCE
    from pellucid.models.quantise import MIN_RANK_CORRELATION

    difference, limit = header.max_difference, header.model.limit
    print_text(out, f"differs from torch by at most {difference:.1e} on {compared} ({TOLERANCE:g} allowed)")
    if header.rank_correlation is not None:
        print_text(
            out,
            f"int8 ranks {len(limit.scores)} held-out normal images as float32 does (correlation"
            f" {header.rank_correlation:.3f}, {MIN_RANK_CORRELATION:g} asked); limit {limit.value:.6g} from their"
            " scores",
        )
