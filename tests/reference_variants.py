"""The other methods of Adam's family from their papers, in float64, one parameter each: judges, as reference.py."""

import math

import numpy as np

from reference import constant


class Twin:
    """A count, a warmup, and a hold while its omega is 0."""

    def __init__(self, theta, lr=1e-3, weight_decay=0.0, maximize=False, omega=constant, decoupled=False):
        self.theta = np.array(theta, dtype=np.float64)
        self.lr, self.weight_decay, self.maximize = float(lr), weight_decay, maximize
        self.omega, self.decoupled, self.t = omega, decoupled, 0

    def step(self, g):
        if g is None:
            return
        self.t += 1
        g = -np.asarray(g) if self.maximize else np.asarray(g)
        self.move(g + (0 if self.decoupled else self.weight_decay) * self.theta)

    def zeros(self):
        return np.zeros_like(self.theta)


class RMSprop(Twin):
    def __init__(self, theta, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, rectifies=False, lr=1e-2, **rest):
        super().__init__(theta, lr=lr, **rest)
        self.alpha, self.eps, self.momentum, self.centered, self.rectifies = alpha, eps, momentum, centered, rectifies
        self.v, self.mean, self.buffer = self.zeros(), self.zeros(), self.zeros()

    def move(self, g):
        omega = self.omega(self.t, self.alpha)
        if self.rectifies:
            omega *= math.sqrt(1 - self.alpha**self.t)
        self.v = self.alpha * self.v + (1 - self.alpha) * g * g
        self.mean = self.alpha * self.mean + (1 - self.alpha) * g
        if omega == 0:
            return
        variance = self.v - self.mean**2 if self.centered else self.v
        self.buffer = self.momentum * self.buffer + omega * g / (np.sqrt(np.maximum(variance, 0)) + self.eps)
        self.theta = self.theta - self.lr * self.buffer


class NAdam(Twin):
    def __init__(self, theta, betas=(0.9, 0.999), eps=1e-8, momentum_decay=4e-3, lr=2e-3, **rest):
        super().__init__(theta, lr=lr, **rest)
        (self.beta1, self.beta2), self.eps, self.psi = betas, eps, momentum_decay
        self.m, self.v, self.product = self.zeros(), self.zeros(), 1.0

    def mu(self, t):
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.psi))

    def move(self, g):
        omega = self.omega(self.t, self.beta2)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        self.product *= self.mu(self.t)
        if omega == 0:
            return
        if self.decoupled:
            self.theta = self.theta * (1 - self.lr * self.weight_decay)
        now = (1 - self.mu(self.t)) * g / (1 - self.product)
        ahead = self.mu(self.t + 1) * self.m / (1 - self.product * self.mu(self.t + 1))
        v_hat = self.v / (1 - self.beta2**self.t)
        self.theta = self.theta - self.lr * omega * (now + ahead) / (np.sqrt(v_hat) + self.eps)


class Adadelta(Twin):
    def __init__(self, theta, rho=0.9, eps=1e-6, rectifies=False, lr=1.0, **rest):
        super().__init__(theta, lr=lr, **rest)
        self.rho, self.eps, self.rectifies = rho, eps, rectifies
        self.v, self.u = self.zeros(), self.zeros()

    def move(self, g):
        omega = self.omega(self.t, self.rho)
        if self.rectifies:
            omega *= math.sqrt(1 - self.rho**self.t)
        self.v = self.rho * self.v + (1 - self.rho) * g * g
        delta = np.sqrt(self.u + self.eps) / np.sqrt(self.v + self.eps) * g
        self.u = self.rho * self.u + (1 - self.rho) * delta * delta
        self.theta = self.theta - self.lr * omega * delta


class LAMB(Twin):
    def __init__(self, theta, betas=(0.9, 0.999), eps=1e-6, lr=1e-3, **rest):
        super().__init__(theta, lr=lr, **{**rest, "decoupled": True})
        (self.beta1, self.beta2), self.eps = betas, eps
        self.m, self.v = self.zeros(), self.zeros()

    def move(self, g):
        omega = self.omega(self.t, self.beta2)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        d = m_hat / (np.sqrt(v_hat) + self.eps) + self.weight_decay * self.theta
        length, norm = math.sqrt(np.sum(self.theta**2)), math.sqrt(np.sum(d**2))
        self.theta = self.theta - self.lr * omega * (length / norm if length > 0 and norm > 0 else 1.0) * d


class GIAdam(Twin):
    def __init__(self, theta, betas=(0.9, 0.999), eps=1e-8, **rest):
        super().__init__(theta, **rest)
        (self.beta1, self.beta2), self.eps = betas, eps
        self.m, self.v = self.zeros(), None

    def first_v(self, g):
        return g * g

    def move(self, g):
        if self.v is None:
            self.v = self.first_v(g)
        omega = self.omega(self.t, self.beta2)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        if omega == 0:
            return
        if self.decoupled:
            self.theta = self.theta * (1 - self.lr * self.weight_decay)
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        self.theta = self.theta - self.lr * omega * m_hat / (np.sqrt(v_hat) + self.eps)


class GivenV0(GIAdam):
    def __init__(self, theta, v0, **rest):
        super().__init__(theta, **rest)
        self.v0 = v0

    def first_v(self, g):
        return np.array(self.v0)


class StableAdamW(Twin):
    def __init__(self, theta, betas=(0.9, 0.99), eps=1e-6, weight_decay=1e-2, **rest):
        super().__init__(theta, **{**rest, "decoupled": True, "weight_decay": weight_decay})
        (self.beta1, self.beta2), self.eps = betas, eps
        self.m, self.v = self.zeros(), self.zeros()

    def move(self, g):
        omega = self.omega(self.t, self.beta2)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        if omega == 0 or g.size == 0:
            return
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        rms = math.sqrt(np.mean(g * g / np.maximum(v_hat, self.eps**2)))
        lr = self.lr * omega / max(1.0, rms)
        self.theta = self.theta - lr * (self.weight_decay * self.theta + m_hat / (np.sqrt(v_hat) + self.eps))


class COCOB(Twin):
    def __init__(self, theta, alpha=100.0, **rest):
        super().__init__(theta, **rest)
        self.alpha, self.first = alpha, self.theta.copy()
        self.L, self.G, self.R, self.s = (self.zeros() for _ in range(4))

    def move(self, g):
        self.L = np.maximum(self.L, np.abs(g))
        self.G = self.G + np.abs(g)
        self.R = np.maximum(self.R - g * (self.theta - self.first), 0)
        self.s = self.s - g
        stake = np.divide(
            self.s * (self.L + self.R),
            self.L * np.maximum(self.G + self.L, self.alpha * self.L),
            out=self.zeros(),
            where=self.L > 0,
        )
        self.theta = self.first + stake


class Together:
    """Methods that look at all parameters at once: one vector with holes where a parameter has no gradient."""

    def __init__(self, thetas, lr, weight_decay=0.0, maximize=False):
        self.thetas = [np.array(theta, dtype=np.float64) for theta in thetas]
        self.lr, self.weight_decay, self.maximize = lr, weight_decay, maximize
        self.last = [np.zeros_like(theta) for theta in self.thetas]

    def step(self, gs):
        gs = [
            None if g is None else (-g if self.maximize else g) + self.weight_decay * theta
            for g, theta in zip(gs, self.thetas, strict=True)
        ]
        self.move(gs)


class Hypergradient(Together):
    """With Adam's direction where betas are given, else SGD's."""

    def __init__(self, thetas, lr, hyper_lr, momentum=0.0, betas=None, eps=1e-8, **rest):
        super().__init__(thetas, lr, **rest)
        self.alpha, self.hyper_lr, self.momentum, self.betas, self.eps = lr, hyper_lr, momentum, betas, eps
        self.t = [0] * len(self.thetas)
        self.m, self.v, self.b = ([np.zeros_like(x) for x in self.thetas] for _ in range(3))

    def move(self, gs):
        pairs = [(g, u) for g, u in zip(gs, self.last, strict=True) if g is not None]
        self.alpha += self.hyper_lr * sum(float(np.sum(g * u)) for g, u in pairs)
        for i, g in enumerate(gs):
            if g is None:
                continue
            self.t[i] += 1
            if self.betas:
                beta1, beta2 = self.betas
                self.m[i] = beta1 * self.m[i] + (1 - beta1) * g
                self.v[i] = beta2 * self.v[i] + (1 - beta2) * g * g
                m_hat, v_hat = self.m[i] / (1 - beta1 ** self.t[i]), self.v[i] / (1 - beta2 ** self.t[i])
                u = m_hat / (np.sqrt(v_hat) + self.eps)
            else:
                self.b[i] = self.momentum * self.b[i] + g
                u = g + self.momentum * self.b[i] if self.momentum else g
            self.last[i] = u
            self.thetas[i] = self.thetas[i] - self.alpha * u


class YellowFin(Together):
    def __init__(self, thetas, lr=1.0, first_lr=1e-4, beta=0.999, window=20, clip=False, **rest):
        super().__init__(thetas, lr, **rest)
        self.beta, self.window, self.clip = beta, window, clip
        self.alpha, self.mu, self.squares, self.norms, self.mean_norms = first_lr, 0.0, [], [], []
        self.average = [np.zeros_like(x) for x in self.thetas]
        self.log_min, self.log_max, self.distances = [], [], []

    def ema(self, values):
        weights = self.beta ** np.arange(len(values) - 1, -1, -1.0)
        return float(np.sum(weights * values) / np.sum(weights))

    def move(self, gs):
        self.squares.append(sum(float(np.sum(g * g)) for g in gs if g is not None))
        self.norms.append(math.sqrt(self.squares[-1]))
        t, recent = len(self.squares), self.squares[-self.window :]
        self.log_min.append(math.log(min(recent) + 1e-6))
        self.log_max.append(math.log(max(recent) + 1e-6))
        h_min, h_max = math.exp(self.ema(self.log_min)), math.exp(self.ema(self.log_max))
        square = self.ema(self.squares)
        self.distances.append(self.ema(self.norms) / (square + 1e-6))
        distance = self.ema(self.distances)
        for i, g in enumerate(gs):
            if g is not None:
                self.average[i] = self.beta * self.average[i] + (1 - self.beta) * g
        present = [x for x, g in zip(self.average, gs, strict=True) if g is not None]
        mean = sum(float(np.sum(x * x)) for x in present) / (1 - self.beta**t) ** 2
        variance = max(square - mean, 1e-6)
        if t > 1:
            # The minimum of mu D^2 + alpha^2 C over x = sqrt(mu), where its derivative changes sign, or the bound.
            ratio, low, high = 2 * variance / h_min**2, 0.0, 1.0
            for _ in range(200):
                x = (low + high) / 2
                low, high = (x, high) if ratio * (1 - x) ** 3 > distance**2 * x else (low, x)
            root = math.sqrt(h_max / h_min)
            x = max(x, (root - 1) / (root + 1))
            self.mu = self.beta * self.mu + (1 - self.beta) * x * x
            slow = min(1.0, t / (10 * self.window))
            self.alpha = self.beta * self.alpha + (1 - self.beta) * slow * (1 - x) ** 2 / h_min
        shrink = math.sqrt(h_max / self.squares[-1]) if self.clip and self.squares[-1] > h_max else 1.0
        for i, g in enumerate(gs):
            if g is not None:
                self.last[i] = self.mu * self.last[i] - self.lr * self.alpha * shrink * g
                self.thetas[i] = self.thetas[i] + self.last[i]
