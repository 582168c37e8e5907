"""What is cut into pieces, and what happens where nothing is. Over processes: test_accumulate."""

import torch
from task_worker import MODEL, make_task

from mg3d.training.sharding import _blocks, laid_out_as, unsharded, whole


def test_the_pieces_are_the_blocks_of_the_image_encoder() -> None:
    encoder = make_task(MODEL).model.image_encoder
    blocks = list(_blocks(encoder))
    assert len(blocks) == sum(MODEL.image.depths)
    held = {id(parameter) for block in blocks for parameter in block.parameters()}
    assert len(held) == sum(len(list(block.parameters())) for block in blocks)  # none twice
    assert held <= {id(parameter) for parameter in encoder.parameters()}


def test_without_pieces_everything_is_what_it_was() -> None:
    model, tensor = make_task(MODEL).model, torch.ones(3)
    assert unsharded(model) is model
    assert whole(tensor) is tensor
    assert laid_out_as(tensor, torch.zeros(3)) is tensor
