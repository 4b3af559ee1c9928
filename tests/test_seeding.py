import torch
from torch import Tensor

from glow_app.seeding import Share, draw_rows, image_generator, image_generators, step_generator


def draw(seed: int = 0, step: int = 0, stream: str = "noise") -> tuple[float, ...]:
    return tuple(torch.rand(8, generator=step_generator(seed, step, "cpu", stream)).tolist())


def rows(num: int, share: Share | None) -> Tensor:
    generator = step_generator(1, 2, "cpu", "noise", share)
    return draw_rows(torch.randn, (num, 3, 2), generator)


def test_a_draw_is_a_pure_function_of_its_names() -> None:
    first = draw(1, 2)
    torch.manual_seed(5)
    torch.rand(100)
    draw(2, 2)
    assert draw(1, 2) == first


def test_everything_in_the_name_matters() -> None:
    draws = {draw(seed, step, stream) for seed in range(3) for step in range(4) for stream in ("noise", "flip")}
    assert len(draws) == 3 * 4 * 2


def test_numbers_do_not_run_into_each_other() -> None:
    assert draw(1, 11) != draw(11, 1)


def test_large_and_negative_seeds_work() -> None:
    assert draw(2**63) != draw(2**64)
    assert draw(-1) != draw(1)


def test_the_numbers_are_those_of_the_first_release() -> None:
    # A change here would change what a resumed run draws.
    assert step_generator(1, 2, "cpu", "noise").initial_seed() == 3515179821460082119


def test_ranks_share_what_one_would_draw() -> None:
    alone = rows(12, None)
    for num_ranks in (1, 2, 3):
        parts = [rows(12 // num_ranks, Share(rank, num_ranks)) for rank in range(num_ranks)]
        assert all(torch.equal(part, alone[rank::num_ranks]) for rank, part in enumerate(parts))
    assert not torch.equal(rows(6, Share(0, 2)), rows(6, Share(1, 2)))


def test_a_partial_batch_has_the_noise_of_its_rows_in_a_full_one() -> None:
    full = rows(12, None)
    assert torch.equal(rows(5, Share(num_rows=12)), full[:5])
    assert torch.equal(rows(2, Share(1, 3, num_rows=4)), full[1::3][:2])


def test_an_ordinary_generator_draws_every_row() -> None:
    rows_drawn = draw_rows(torch.rand, (4, 2), image_generator(3))
    assert torch.equal(rows_drawn, torch.rand(4, 2, generator=image_generator(3)))
    assert draw_rows(torch.rand, (4, 2), None).shape == (4, 2)


def test_a_row_of_its_own_seed_depends_on_nothing_else() -> None:
    many, alone = image_generators([3, 4, 5]), image_generators([4])
    for _ in range(2):
        rows_drawn = draw_rows(torch.rand, (3, 2, 2), many)
        assert torch.equal(rows_drawn[1:2], draw_rows(torch.rand, (1, 2, 2), alone))
    assert torch.equal(
        draw_rows(torch.rand, (1, 5), image_generators([4])), torch.rand(1, 5, generator=image_generator(4))
    )


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw()
    torch.rand(3, generator=image_generator(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_image_generator_is_its_seed() -> None:
    first, again, other = (torch.rand(4, generator=image_generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert image_generator(7).device == torch.device("cpu")


def test_the_generators_of_images_can_begin_again() -> None:
    generator = image_generators([3, 5, 9])
    torch.rand(2, generator=generator.each[0])  # type: ignore[attr-defined]
    state = generator.get_state()
    first = draw_rows(torch.rand, (3, 4), generator)
    assert not torch.equal(draw_rows(torch.rand, (3, 4), generator), first)
    generator.set_state(state)
    assert torch.equal(draw_rows(torch.rand, (3, 4), generator), first)
