"""One network of two layers, trained in each framework on the same batches; every run can hand its state on."""

import numpy as np

STEPS, SWITCH = 60, 30
LR, DECAY, EPS = 1e-2, 0.98, 1e-6
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.1

IN_TORCH = ["hidden.weight", "hidden.bias", "head.weight", "head.bias"]
IN_JAX = ["layers.0.w", "layers.0.b", "layers.1.w", "layers.1.b"]
TO_JAX = dict(zip(IN_TORCH, IN_JAX, strict=True))


def transposed(name, x):
    return x.T


def there(state, names):
    """A state in torch's names and layout in another framework's."""
    return state.renamed(names).mapped(transposed)


def back(state, names):
    return state.renamed({new: old for old, new in names.items()}).mapped(transposed)


def lr_at(step):
    """Of the step with this number, from 0."""
    return LR * DECAY**step


def data():
    """Points with a target, in a batch per step."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS, 64, 3)).astype(np.float32)
    return x, np.sin(2 * x[..., :1]) * x[..., 1:2] + x[..., 2:]


def start():
    """The weights in torch's names and layout."""
    rng = np.random.default_rng(1)
    shapes = [(16, 3), (16,), (1, 16), (1,)]
    return {
        name: 0.5 * rng.standard_normal(shape).astype(np.float32) for name, shape in zip(IN_TORCH, shapes, strict=True)
    }


class InTorch:
    """A run in torch, with an optimizer made by ``make(params, lr)``."""

    def __init__(self, make, weights):
        import torch

        hidden, head = torch.nn.Linear(3, 16), torch.nn.Linear(16, 1)
        self.model = torch.nn.ModuleDict({"hidden": hidden, "head": head})
        self.model.load_state_dict({name: torch.tensor(x) for name, x in weights.items()})
        self.optimizer = make(self.model.parameters(), LR)

    def run(self, first, last):
        import torch

        x, y = map(torch.tensor, data())
        for t in range(first, last):
            for group in self.optimizer.param_groups:
                group["lr"] = lr_at(t)
            self.optimizer.zero_grad()
            predicted = self.model["head"](torch.tanh(self.model["hidden"](x[t])))
            ((predicted - y[t]) ** 2).mean().backward()
            self.optimizer.step()
        return self

    def weights(self):
        return {name: p.detach().numpy().copy() for name, p in self.model.named_parameters()}

    def state(self):
        from rectified.interchange import from_torch

        return from_torch(self.optimizer, self.model)

    def load(self, state):
        from rectified.interchange import to_torch

        to_torch(state, self.optimizer, self.model)
        return self


class InJax:
    """A run in jax, with an optimizer made by ``make(schedule)``."""

    def __init__(self, make, weights):
        import jax.numpy as jnp

        w1, b1, w2, b2 = (jnp.asarray(weights[name].T) for name in IN_TORCH)
        self.params = {"layers": [{"w": w1, "b": b1}, {"w": w2, "b": b2}]}
        self.optimizer = make(lr_at)
        self.opt_state = self.optimizer.init(self.params)

    def run(self, first, last):
        import jax
        import jax.numpy as jnp
        import optax

        def loss_of(params, x, y):
            one, two = params["layers"]
            return ((jnp.tanh(x @ one["w"] + one["b"]) @ two["w"] + two["b"] - y) ** 2).mean()

        def step(carry, batch):
            params, opt_state = carry
            updates, opt_state = self.optimizer.update(jax.grad(loss_of)(params, *batch), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        batches = tuple(jnp.asarray(x[first:last]) for x in data())
        carry = self.params, self.opt_state
        self.params, self.opt_state = jax.jit(lambda carry: jax.lax.scan(step, carry, batches)[0])(carry)
        return self

    def weights(self):
        one, two = self.params["layers"]
        found = (one["w"], one["b"], two["w"], two["b"])
        return {name: np.array(x).T for name, x in zip(IN_TORCH, found, strict=True)}

    def state(self):
        from rectified.interchange import from_optax

        return back(from_optax(self.opt_state, self.params), TO_JAX)

    def load(self, state):
        from rectified.interchange import to_optax

        self.opt_state = to_optax(there(state, TO_JAX), self.opt_state, self.params)
        return self


class InKeras:
    """A run in Keras on its torch backend, with an optimizer made by ``make(schedule)``."""

    def __init__(self, make, weights):
        import keras

        layers = [keras.layers.Dense(16, activation="tanh", name="hidden"), keras.layers.Dense(1, name="head")]
        self.model = keras.Sequential([keras.Input((3,)), *layers], name="mlp")
        self.model.set_weights([weights[name].T for name in IN_TORCH])
        self.optimizer = make(keras.optimizers.schedules.ExponentialDecay(LR, 1, DECAY))
        self.optimizer.build(self.model.trainable_variables)
        self.variables = dict(zip(IN_TORCH, self.model.trainable_variables, strict=True))
        self.names = {name: v.path for name, v in self.variables.items()}

    def run(self, first, last):
        import torch

        x, y = map(torch.tensor, data())
        variables = self.model.trainable_variables
        for t in range(first, last):
            loss = ((self.model(x[t]) - y[t]) ** 2).mean()
            self.optimizer.apply(torch.autograd.grad(loss, [v.value for v in variables]), variables)
        return self

    def weights(self):
        return {name: v.value.detach().numpy().T.copy() for name, v in self.variables.items()}

    def state(self):
        from rectified.interchange import from_keras

        return back(from_keras(self.optimizer), self.names)

    def load(self, state):
        from rectified.interchange import to_keras

        to_keras(there(state, self.names), self.optimizer)
        return self


def equal(a, b):
    """Whether two states are the same, bit for bit."""
    return (
        dict(a.counts) == dict(b.counts)
        and a.v_max.keys() == b.v_max.keys()
        and all(
            np.array_equal(x, other[name]) and x.dtype == other[name].dtype
            for mine, other in ((a.m, b.m), (a.v, b.v), (a.v_max, b.v_max))
            for name, x in mine.items()
        )
    )


def distance(a, b):
    """The largest difference of two sets of weights, relative to a weight's size plus the way of 0.1."""
    return max(float((np.abs(a[name] - b[name]) / (np.abs(b[name]) + 0.1)).max()) for name in b)
