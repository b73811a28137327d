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
