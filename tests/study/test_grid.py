"""From texts to plans, and every way in which a grid is refused before anything runs, with its place."""

import pytest

from rectified.study.config.grid import Grid


def test_what_is_not_asked_for_is_the_tasks_own():
    (plan,) = Grid("fashion-mnist").plans()
    assert (plan.task, plan.epochs, plan.batch_size, plan.seeds) == ("fashion-mnist", 4, 1000, (0, 1, 2))
    assert [method.name for method in plan.methods] == ["adam", "radam", "adam+untuned-linear"]


def test_tasks_by_batch_sizes_each_with_their_own_defaults():
    plans = Grid("fashion-mnist, fashion-mnist-mini(loss_scale=10)", batch_sizes="50,100", seeds="7").plans()
    assert [(plan.task, plan.batch_size) for plan in plans] == [
        ("fashion-mnist", 50),
        ("fashion-mnist", 100),
        ("fashion-mnist-mini(loss_scale=10.0)", 50),
        ("fashion-mnist-mini(loss_scale=10.0)", 100),
    ]
    assert {plan.seeds for plan in plans} == {(7,)}


def test_vary_is_every_method_with_every_combination():
    grid = Grid("fashion-mnist", methods="adam,radam(lr=0.1)", vary=("beta2=0.9,0.99", "eps=1e-8,1e-4"))
    (plan,) = grid.plans()
    assert [method.name for method in plan.methods] == [
        "adam(beta2=0.9,eps=1e-8)",
        "adam(beta2=0.9,eps=1e-4)",
        "adam(beta2=0.99,eps=1e-8)",
        "adam(beta2=0.99,eps=1e-4)",
        "radam(lr=0.1,beta2=0.9,eps=1e-8)",
        "radam(lr=0.1,beta2=0.9,eps=1e-4)",
        "radam(lr=0.1,beta2=0.99,eps=1e-8)",
        "radam(lr=0.1,beta2=0.99,eps=1e-4)",
    ]
    assert plan.methods[0].options == {"eps": 1e-8, "betas": (0.9, 0.9)}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tasks": "fashion"}, "TASK is refused: unknown task 'fashion'; there are fashion-mnist"),
        ({"tasks": ""}, "TASK is empty"),
        ({"tasks": "fashion-mnist,fashion-mnist(loss_scale=1)"}, "TASK holds fashion-mnist twice"),
        ({"methods": "adm"}, "--methods is refused: unknown method 'adm'; there are adam"),
        ({"methods": "adam,adam"}, "--methods holds adam twice"),
        ({"methods": " , "}, "--methods is empty"),
        ({"lrs": "0.1,-0.1"}, "--lrs holds -0.1; a learning rate is a positive number"),
        ({"lrs": "0.1,0.1"}, "--lrs holds 0.1 twice"),
        ({"lrs": ""}, "--lrs is empty"),
        ({"lrs": "fast"}, "--lrs is 'fast'; write numbers with commas between them"),
        ({"seeds": "1.5"}, "--seeds is '1.5'; write whole numbers"),
        ({"seeds": "1,1"}, "--seeds holds 1 twice"),
        ({"epochs": 0}, "--epochs is 0; it must be at least 1"),
        ({"batch_sizes": "0"}, "--batch-sizes holds 0; it must be at least 1"),
        ({"batch_sizes": "8,8"}, "--batch-sizes holds 8 twice"),
        ({"vary": ("beta2",)}, "--vary holds 'beta2'; write such as beta2=0.9,0.999"),
        ({"vary": ("beta2=0.9,0.9",)}, "--vary holds 0.9 twice"),
        ({"vary": ("beta2=2",)}, "--vary is refused: method 'adam(beta2=2)': Invalid beta parameter"),
        ({"vary": ("speed=2",)}, "--vary is refused: method 'adam(speed=2)'"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(asked, says):
    with pytest.raises(ValueError, match=r"TASK|--") as error:
        Grid(**{"tasks": "fashion-mnist", **asked}).plans()
    assert str(error.value).startswith(says)
