import torch
from torch import Tensor

from glow_app.seeding import Share, draw_rows, image_generator, image_generators, step_generator


def draw(seed: int = 0, step: int = 0, stream: str = "noise") -> tuple[float, ...]:
    return tuple(torch.rand(8, generator=step_generator(seed, step, "cpu", stream)).tolist())


def rows(num: int, share: Share | None) -> Tensor:
    generator = step_generator(1, 2, "cpu", "noise", share)
    return draw_rows(torch.randn, (num, 3, 2), generator)


def test_a_draw_is_a_pure_function_of_seed_step_and_stream() -> None:
    names = [(seed, step, stream) for seed in (-1, 1, 11, 2**63) for step in (1, 11) for stream in ("noise", "flip")]
    first = {name: draw(*name) for name in names}
    assert len(set(first.values())) == len(names)
    before = torch.get_rng_state()
    assert {name: draw(*name) for name in reversed(names)} == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_of_a_step_is_fixed() -> None:
    # A change here would change what a resumed run draws.
    assert step_generator(1, 2, "cpu", "noise").initial_seed() == 3515179821460082119


def test_ranks_share_the_noise_of_the_whole_batch() -> None:
    alone = rows(12, None)
    for num_ranks in (1, 2, 3):
        parts = [rows(12 // num_ranks, Share(rank, num_ranks)) for rank in range(num_ranks)]
        assert all(torch.equal(part, alone[rank::num_ranks]) for rank, part in enumerate(parts))
    assert not torch.equal(rows(6, Share(0, 2)), rows(6, Share(1, 2)))


def test_a_partial_batch_has_the_noise_of_a_full_one() -> None:
    full = rows(12, None)
    assert torch.equal(rows(5, Share(num_rows=12)), full[:5])
    assert torch.equal(rows(2, Share(1, 3, num_rows=4)), full[1::3][:2])


def test_a_row_depends_only_on_its_seed_and_can_be_drawn_again() -> None:
    many, alone = image_generators([3, 4, 5]), image_generators([4])
    state = many.get_state()
    drawn = [draw_rows(torch.rand, (3, 2, 2), many) for _ in range(2)]
    for rows_of_three in drawn:
        assert torch.equal(rows_of_three[1:2], draw_rows(torch.rand, (1, 2, 2), alone))
    assert torch.equal(drawn[0][1:2], torch.rand(1, 2, 2, generator=image_generator(4)))
    many.set_state(state)
    assert torch.equal(draw_rows(torch.rand, (3, 2, 2), many), drawn[0])
