import torch

from glow_app.seeding import image_generator, step_generator


def draw(seed: int = 0, step: int = 0, rank: int = 0, stream: str = "noise") -> tuple[float, ...]:
    return tuple(torch.rand(8, generator=step_generator(seed, step, rank, "cpu", stream)).tolist())


def test_a_draw_is_a_pure_function_of_its_names() -> None:
    first = draw(1, 2, 3)
    torch.manual_seed(5)
    torch.rand(100)
    draw(2, 2, 3)
    assert draw(1, 2, 3) == first


def test_everything_in_the_name_matters() -> None:
    draws = {
        draw(seed, step, rank, stream)
        for seed in range(3)
        for step in range(4)
        for rank in range(3)
        for stream in ("noise", "flip")
    }
    assert len(draws) == 3 * 4 * 3 * 2


def test_numbers_do_not_run_into_each_other() -> None:
    assert draw(1, 11) != draw(11, 1)
    assert draw(11, 1, 1) != draw(1, 11, 1)
    assert draw(1, 1, 11) != draw(1, 11, 1)


def test_large_and_negative_seeds_work() -> None:
    assert draw(2**63) != draw(2**64)
    assert draw(-1) != draw(1)


def test_the_numbers_are_those_of_the_first_release() -> None:
    # A change here would change what a resumed run draws.
    assert step_generator(1, 2, 3, "cpu", "noise").initial_seed() == 6967205501684469433


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
