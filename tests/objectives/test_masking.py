import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mg3d.errors import ConfigError
from mg3d.objectives.masking import mask_blocks, mask_words

PAD, UNKNOWN, CLS, SEP, MASK = range(5)
SPECIALS = (PAD, UNKNOWN, CLS, SEP, MASK)
VOCABULARY = 50


def report(words, seed=0):
    """[CLS] tokens [SEP] of words with the given numbers of tokens: (token ids, word ids)."""
    generator = np.random.default_rng(seed)
    word_ids = [number for number, size in enumerate(words, start=1) for _ in range(size)]
    tokens = generator.integers(len(SPECIALS), VOCABULARY, len(word_ids)).tolist()
    return [CLS, *tokens, SEP], [0, *word_ids, 0]


def stack(reports, width=None):
    width = max(len(tokens) for tokens, _ in reports) if width is None else width
    columns = zip(*reports, strict=True)
    return tuple(torch.tensor([row + [0] * (width - len(row)) for row in c]) for c in columns)


def hide(token_ids, word_ids, studies, *, seed=0, epoch=0, **options):
    return mask_words(
        token_ids, word_ids, studies, seed=seed, epoch=epoch, vocab_size=VOCABULARY,
        mask_id=MASK, special_ids=SPECIALS, **options,
    )  # fmt: skip


words = st.lists(st.integers(1, 4), max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(words, st.sampled_from([0.15, 0.4, 1.0]), st.integers(0, 50))
def test_whole_words_are_chosen_and_specials_never(sizes, ratio, epoch):
    token_ids, word_ids = stack([report(sizes)], width=200)
    hidden = hide(token_ids, word_ids, ["a"], epoch=epoch, ratio=ratio)
    asked = hidden.masked_positions
    chosen = word_ids[asked].unique().tolist()
    assert 0 not in chosen
    assert len(chosen) == (max(1, round(ratio * len(sizes))) if sizes else 0)
    whole = torch.isin(word_ids, torch.tensor(chosen, dtype=torch.int64))
    assert torch.equal(asked, whole)
    assert torch.equal(hidden.token_ids[~asked], token_ids[~asked])
    assert torch.equal(hidden.targets, token_ids[asked])


def test_tokens_are_masked_randomised_and_kept_8_to_1_to_1():
    studies = [f"s{i}" for i in range(400)]
    token_ids, word_ids = stack([report([1, 2] * 20, seed=i) for i in range(400)])
    hidden = hide(token_ids, word_ids, studies, ratio=0.5)
    seen = hidden.token_ids[hidden.masked_positions]
    count = len(seen)
    assert count > 11_000
    masked, kept = (seen == MASK).float().mean(), (seen == hidden.targets).float().mean()
    # Standard errors 0.0037 and 0.0028; a random token is the right one in 1 of 45 cases.
    assert masked.item() == pytest.approx(0.8, abs=0.012)
    assert kept.item() == pytest.approx(0.1 + 0.1 / 45, abs=0.01)
    randomised = seen[(seen != MASK) & (seen != hidden.targets)]
    assert randomised.min() >= len(SPECIALS)
    assert set(randomised.tolist()) == set(range(len(SPECIALS), VOCABULARY))


def test_every_word_is_as_likely_as_the_others():
    token_ids, word_ids = stack([report([1] * 20)])
    counts = sum(
        hide(token_ids, word_ids, ["a"], epoch=epoch).masked_positions[0, 1:21].int()
        for epoch in range(1000)
    )
    # 3 of 20 words each time: 150 expected, standard deviation 11.3
    assert counts.min() > 100
    assert counts.max() < 200


def test_the_draw_belongs_to_the_study_alone():
    """Neither padding, nor the place in the batch, nor the neighbours change it."""
    reports = [report([1, 3, 2] * 5, seed=1), report([2] * 9, seed=2), report([1], seed=3)]
    names = ["a", "b", "c"]
    together = hide(*stack(reports, width=64), names)
    for row in range(3):
        alone = hide(*stack([reports[row]]), [names[row]])
        width = alone.token_ids.shape[1]
        assert torch.equal(together.token_ids[row, :width], alone.token_ids[0])
        assert torch.equal(together.masked_positions[row, :width], alone.masked_positions[0])
        assert not together.masked_positions[row, width:].any()
    backwards = hide(*stack(reports[::-1], width=64), names[::-1])
    assert torch.equal(backwards.token_ids.flip(0), together.token_ids)


def test_study_epoch_and_seed_each_change_the_draw():
    token_ids, word_ids = stack([report([1] * 60)])
    first = hide(token_ids, word_ids, ["a"])
    assert torch.equal(first.token_ids, hide(token_ids, word_ids, ["a"]).token_ids)
    for other in (
        hide(token_ids, word_ids, ["b"]),
        hide(token_ids, word_ids, ["a"], epoch=1),
        hide(token_ids, word_ids, ["a"], seed=1),
    ):
        assert not torch.equal(first.masked_positions, other.masked_positions)


def test_unknown_words_are_not_asked_for():
    token_ids, word_ids = stack([report([1] * 10)])
    token_ids[0, 1:10] = UNKNOWN
    hidden = hide(token_ids, word_ids, ["a"], ratio=1.0)
    assert hidden.masked_positions.nonzero().tolist() == [[0, 10]]


def test_a_batch_without_words_asks_for_nothing():
    token_ids, word_ids = stack([report([]), report([])])
    hidden = hide(token_ids, word_ids, ["a", "b"])
    assert hidden.targets.shape == (0,)
    assert torch.equal(hidden.token_ids, token_ids)


def test_the_original_is_left_alone():
    token_ids, word_ids = stack([report([1] * 30)])
    before = token_ids.clone()
    hide(token_ids, word_ids, ["a"], ratio=1.0)
    assert torch.equal(token_ids, before)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_ratios_are_refused(ratio):
    token_ids, word_ids = stack([report([1])])
    with pytest.raises(ConfigError, match=r"masked_report\.mask_ratio is"):
        hide(token_ids, word_ids, ["a"], ratio=ratio)
    with pytest.raises(ConfigError, match=r"masked_volume\.mask_ratio is"):
        mask_blocks(["v"], (4, 4, 4), seed=0, epoch=0, block=2, ratio=ratio)


def test_a_vocabulary_of_special_tokens_is_refused():
    token_ids, word_ids = stack([report([1])])
    with pytest.raises(ConfigError, match="all 5 tokens of the vocabulary are special"):
        mask_words(
            token_ids, word_ids, ["a"], seed=0, epoch=0, vocab_size=5, mask_id=MASK,
            special_ids=SPECIALS,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "block", "ratio"),
    [((32, 48, 64), 16, 0.5), ((8, 6, 4), (4, 2, 1), 0.3), ((6, 6, 6), 2, 1.0)],
)
def test_whole_blocks_are_hidden_and_exactly_so_many(grid, block, ratio):
    mask = mask_blocks(["a", "b"], grid, seed=0, epoch=0, block=block, ratio=ratio)
    assert mask.shape == (2, 1, *grid)
    assert mask.dtype == torch.bool
    bx, by, bz = (block,) * 3 if isinstance(block, int) else block
    for volume in mask[:, 0]:
        hidden = 0
        for x in range(0, grid[0], bx):
            for y in range(0, grid[1], by):
                for z in range(0, grid[2], bz):
                    here = volume[x : x + bx, y : y + by, z : z + bz]
                    assert here.all() or not here.any()
                    hidden += bool(here.all())
        assert hidden == round(ratio * (volume.numel() // (bx * by * bz)))


def test_volumes_are_masked_independently_of_each_other_and_of_the_batch():
    together = mask_blocks(["a", "b", "c"], (64, 48, 64), seed=0, epoch=0)
    assert not torch.equal(together[0], together[1])
    alone = mask_blocks(["b"], (64, 48, 64), seed=0, epoch=0)
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(alone, mask_blocks(["b"], (64, 48, 64), seed=0, epoch=1))
    assert not torch.equal(alone, mask_blocks(["b"], (64, 48, 64), seed=1, epoch=0))


def test_every_block_is_as_likely_as_the_others():
    names = [f"v{i}" for i in range(1000)]
    counts = mask_blocks(names, (2, 3, 4), seed=0, epoch=0, block=1).sum(dim=0)
    # 12 of 24 blocks each time: 500 expected, standard deviation 15.8
    assert counts.min() > 430
    assert counts.max() < 570


@pytest.mark.parametrize("block", [16, (8, 8, 5), (0, 4, 4)])
def test_blocks_that_do_not_fill_the_grid_are_refused(block):
    with pytest.raises(ConfigError, match=r"masked_volume\.block .* does not divide the grid"):
        mask_blocks(["v"], (64, 40, 64), seed=0, epoch=0, block=block)
