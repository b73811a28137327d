// The warmups of rectified.warmup and the variances of rectified.theory, in JavaScript for the explorer.
// tests/docs/test_explorer.py compares each value with Python's.
"use strict"

const Warmups = (() => {
  // B_2k / (2k)!, the coefficients of g(y) = y/(e^y - 1) - 1 + y/2, highest first: see rectified.theory.sma.
  const G = [
    77683 / 14101100039391805440000, -174611 / 802857662698291200000, 43867 / 5109094217170944000,
    -3617 / 10670622842880000, 1 / 74724249600, -691 / 1307674368000, 1 / 47900160, -1 / 1209600, 1 / 30240, -1 / 720,
    1 / 12,
  ]
  const EULER = [-1, 5, -61, 1385, -50521, 2702765, -199360981, 19391512145, -2404879675441, 370371188237525]
  const SERIES_FROM = 300 // the rho from which the variance of the EMA comes from its cumulant series
  const ORDER = 7

  const g = y => y * y * G.reduce((total, coefficient) => coefficient + y * y * total, 0)

  const rhoInf = beta2 => (1 + beta2) / (1 - beta2)

  /** Length of the simple moving average that stands for the EMA after t steps. */
  function rho(t, beta2) {
    const h = -Math.log(beta2)
    const x = h * t
    if (x < 1) return t + (2 / h) * (g(h) - g(x))
    return rhoInf(beta2) - (x < 700 ? (2 * t) / Math.expm1(x) : 0)
  }

  /** Variance of psi under the chi-square law with rho degrees of freedom, in closed form. */
  function varianceExact(rho) {
    if (rho <= 2) return Infinity
    const steps = Math.max(0, Math.ceil((20 - rho) / 2))
    const top = rho + 2 * steps
    const y = 2 * top - 3
    let s = 0
    for (let k = EULER.length; k > 0; k--) s = (EULER[k - 1] / (2 * k) + s) / (y * y)
    let value = (top / y) * (1 / (top - 2) - 2 * Math.expm1(s))
    for (let k = steps - 1; k >= 0; k--) {
      const low = rho + 2 * k
      value = low / ((low - 2) * (low - 1) ** 2) + (low ** 3 / ((low + 2) * (low - 1) ** 2)) * value
    }
    return value
  }

  /** The paper's first-order variance. */
  const varianceFirstOrder = rho => (rho <= 4 ? Infinity : rho / (2 * (rho - 2) * (rho - 4)))

  /** The step from which the EMA has forgotten that it had a start. */
  const settled = beta2 => -42 / Math.log(beta2)

  /** t -> variance of psi under the EMA's own law; see rectified.theory.ema. */
  function varianceEma(beta2) {
    const table = integrals(beta2)
    return t => {
      if (t <= 2) return Infinity
      if (t < 3 + table.length) return table[t - 3]
      return rhoInf(beta2) < SERIES_FROM ? table[table.length - 1] : series(t, beta2)
    }
  }

  /** The variance from t = 3 to where the series takes over, or to where nothing changes any more. */
  function integrals(beta2) {
    const h = -Math.log(beta2)
    const step = 0.125
    const scale = 0.1 * (1 - beta2)
    const nodes = [], weights = [], roots = [], products = []
    for (let k = Math.trunc(-4.5 / step); k < Math.trunc((85 - Math.log(scale)) / step); k++) {
      const z = step * k
      const u = scale * Math.exp(z - Math.exp(-z))
      nodes.push(u)
      weights.push(step * (1 + Math.exp(-z)) * u)
      roots.push(weights[weights.length - 1] / Math.sqrt(u))
      products.push(1)
    }
    let length = nodes.length
    const values = []
    for (let t = 1; ; t++) {
      if (t > 3 && (t > settled(beta2) || rho(t, beta2) >= SERIES_FROM)) return values
      const twice = 2 * Math.exp(-h * (t - 1))
      let first = 0, second = 0
      for (let i = 0; i < length; i++) {
        products[i] *= 1 + twice * nodes[i]
        const m = 1 / Math.sqrt(products[i])
        second += weights[i] * m
        first += roots[i] * m
      }
      if (t < 3) continue
      const total = Math.expm1(-h * t) / Math.expm1(-h)
      const value = total * (second - (first * first) / Math.PI)
      values.push(values.length ? Math.min(value, values[values.length - 1]) : value)
      while (weights[length - 1] / Math.sqrt(products[length - 1]) < 1e-24 * second) length--
    }
  }

  /** The cumulant expansion in 1/rho, from the power sums of the weights. */
  function series(t, beta2) {
    const h = -Math.log(beta2)
    const x = h * Math.min(t, settled(beta2))
    const last = Math.expm1(-h) / Math.expm1(-x)
    const a = [0, 0]
    let factor = 0.5
    for (let k = 2; k <= ORDER + 1; k++) {
      factor *= -2
      a.push(((-factor * 2) / k) * last ** k * (Math.expm1(-k * x) / Math.expm1(-k * h)))
    }
    let total = 0
    for (const [term, coefficient] of expansion()) total += term.reduce((value, k) => value * a[k], coefficient)
    return total
  }

  let expanded = null

  /** E psi^2 - (E psi)^2 as a sum of products of the a_k: [ks, coefficient] of each. */
  function expansion() {
    if (expanded) return expanded
    const terms = []
    const grow = (term, order) => {
      terms.push(term)
      for (let k = term.length ? term[term.length - 1] : 2; k <= ORDER + 1; k++)
        if (order + k - 1 <= ORDER) grow([...term, k], order + k - 1)
    }
    grow([], 0)
    const factorial = n => (n ? n * factorial(n - 1) : 1)
    const rising = n => (n ? (n - 0.5) * rising(n - 1) : 1) // 1/2 * 3/2 * ... * (n - 1/2)
    const sum = term => term.reduce((total, k) => total + k, 0)
    const symmetry = term => {
      const counts = {}
      for (const k of term) counts[k] = (counts[k] || 0) + 1
      return Object.values(counts).reduce((total, count) => total * factorial(count), 1)
    }
    const found = new Map(terms.map(term => [term.join(), factorial(sum(term)) / symmetry(term)]))
    const first = terms.map(term => rising(sum(term)) / symmetry(term))
    terms.forEach((left, i) => terms.forEach((right, j) => {
      const both = [...left, ...right].sort((p, q) => p - q).join()
      if (found.has(both)) found.set(both, found.get(both) - first[i] * first[j])
    }))
    expanded = terms.map(term => [term, found.get(term.join())])
    return expanded
  }

  /** r_t of a variance, 0 up to the threshold of rho_t. */
  function rectified(variance, beta2, threshold, limit) {
    return t => (rho(t, beta2) > threshold ? Math.min(1, Math.sqrt(limit / variance(t))) : 0)
  }

  const ramp = length => {
    const n = Math.ceil(length) - 1
    return n - (n * (n + 1)) / (2 * length)
  }

  /** Sum of f over start <= t < stop, from few values where f is smooth; as rectified.warmup sums. */
  function sum(f, start, stop) {
    let total = 0
    while (start < stop) {
      const length = 2 ** Math.floor(Math.log2(stop - start))
      total += sumOfBlock(f, start, length)
      start += length
    }
    return total
  }

  /** The same over a power of two of steps: trapezoids of ever finer stride, extrapolated to stride 1. */
  function sumOfBlock(f, start, length) {
    let total = 0
    if (length <= 128) {
      for (let t = start; t < start + length; t++) total += f(t)
      return total
    }
    const finest = length / 64
    const values = Array.from({length: 65}, (_, i) => f(start + i * finest))
    const ends = values[0] + values[64]
    const squares = [], sums = []
    for (let every = 64; every >= 1; every /= 2) {
      squares.push((every * finest) ** 2)
      let trapezoid = -ends / 2
      for (let i = 0; i <= 64; i += every) trapezoid += values[i]
      sums.push(trapezoid * every * finest)
    }
    let column = sums, last = 0
    for (let gap = 1; gap < squares.length; gap++) {
      last = column[column.length - 1]
      column = column.slice(1).map((finer, i) =>
        ((1 - squares[i]) * finer - (1 - squares[i + gap]) * column[i]) / (squares[i + gap] - squares[i]))
    }
    if (Math.abs(column[0] - last) <= 1e-11 * Math.abs(column[0]) + 1e-14 * length)
      return column[0] + (values[0] - values[64]) / 2
    return sumOfBlock(f, start, length / 2) + sumOfBlock(f, start + length / 2, length / 2)
  }

  /** The effective period of an omega that has settled when the EMA has: the sum of 1 - omega. */
  const period = (omega, beta2) => sum(t => 1 - omega(t), 1, Math.ceil(settled(beta2)) + 1)

  /** The mean of omega over the first steps. */
  const mean = (omega, steps) => sum(omega, 1, steps + 1) / steps

  /** Variance of psi by step, three ways, and the limit of each. */
  function variances(beta2) {
    const ema = varianceEma(beta2)
    const end = rhoInf(beta2)
    return {
      exact: {at: t => varianceExact(rho(t, beta2)), limit: varianceExact(end)},
      "first-order": {at: t => varianceFirstOrder(rho(t, beta2)), limit: varianceFirstOrder(end)},
      ema: {at: ema, limit: ema(Math.ceil(settled(beta2)) + 3)},
    }
  }

  /** Every warmup of rectified.warmup with its defaults: how it is written, omega(t), and its effective period. */
  function all(beta2, steps) {
    const by = variances(beta2)
    const r = (name, threshold) => rectified(by[name].at, beta2, threshold, by[name].limit)
    const kinds = [
      ["Constant()", () => 1, 0],
      ["Rectified()", r("first-order", 5)],
      ['Rectified("exact")', r("exact", 2)],
      ['Rectified("ema")', r("ema", 2)],
      ["UntunedLinear()", t => Math.min(1, ((1 - beta2) * t) / 2), ramp(2 / (1 - beta2))],
      ["UntunedExponential()", t => -Math.expm1(-(1 - beta2) * t), 1 / Math.expm1(1 - beta2)],
      [`Linear(${steps})`, t => Math.min(1, t / steps), ramp(steps)],
      [`SecondMomentOnly(${steps})`, t => (t <= steps ? 0 : 1), steps],
    ]
    return kinds.map(([name, omega, closed]) => ({name, omega, period: closed ?? period(omega, beta2)}))
  }

  return {all, mean, rho, rhoInf, variances}
})()
