// The explorer: sliders, two charts and a table, made inside <div id="explorer">. The numbers are those of warmups.js.
"use strict"

;(() => {
  const place = document.getElementById("explorer")
  if (!place) return

  // The palette and the dashes of rectified.figures.style.
  const COLORS = ["#44505c", "#1f4fb8", "#3f97e3", "#12a085", "#d9730d", "#a0308c", "#7a6a00", "#7d2a1a"]
  const DASHES = ["", "", "6 2", "1.5 1.5", "", "7 2 1.5 2", "6 2", ""]
  const VARIANCES = [
    ["exact", "chi-square law, exact", "#1f4fb8", ""],
    ["first-order", "its first order", "#d9730d", "6 2"],
    ["ema", "the EMA's own law", "#12a085", "1.5 1.5"],
  ]
  const SLIDERS = [
    {key: "beta2", label: "beta2", at: 0.999, values: [
      0.8, 0.85, 0.9, 0.92, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999]},
    {key: "steps", label: "steps of the run", at: 2000, values: [
      10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000]},
    {key: "lr", label: "learning rate", at: 1e-3, values: [
      1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1]},
    {key: "length", label: "steps of Linear and SecondMomentOnly", at: 500, values: [
      1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000]},
  ]
  const SVG = "http://www.w3.org/2000/svg"
  const shown = new Set([0, 1, 3, 4, 5, 6])
  const state = Object.fromEntries(SLIDERS.map(slider => [slider.key, slider.at]))

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    made.append(...children)
    return made
  }
  const drawn = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    made.append(...children)
    return made
  }
  const short = x => {
    if (x === 0 || !Number.isFinite(x)) return x === 0 ? "0" : "infinite"
    if (Math.abs(x) >= 1e-4 && Math.abs(x) < 1e6) return Number(x.toPrecision(4)).toLocaleString("en-US", {maximumFractionDigits: 8})
    const [digits, power] = x.toExponential(2).split("e")
    return `${Number(digits)}e${Number(power)}`
  }

  // Controls.

  const controls = element("div", {class: "controls"})
  for (const slider of SLIDERS) {
    const input = element("input", {
      type: "range", id: `explorer-${slider.key}`, min: 0, max: slider.values.length - 1, step: 1,
      value: slider.values.indexOf(slider.at),
    })
    const output = element("output", {for: input.id})
    const label = element("label", {for: input.id}, slider.label)
    const read = () => {
      state[slider.key] = slider.values[input.value]
      const text = state[slider.key].toLocaleString("en-US", {maximumFractionDigits: 5})
      output.textContent = text
      input.setAttribute("aria-valuetext", text)
    }
    input.addEventListener("input", () => {
      read()
      draw()
    })
    read()
    controls.append(element("div", {}, label, output, input))
  }

  // Charts.

  const chart = (id, title) => {
    const svg = drawn("svg", {id, role: "img", height: 300})
    const figure = element("figure", {}, element("figcaption", {}, title), svg)
    return {figure, svg}
  }
  const omegas = chart("explorer-omega", "lr × omega(t), by step")
  const psi = chart("explorer-psi", "Variance of psi = 1/sqrt(v), by step (logarithmic)")
  const legend = element("ul", {class: "legend", "aria-label": "Variances"})
  for (const [, name, color, dash] of VARIANCES) legend.append(element("li", {}, key(color, dash), name))
  legend.append(element("li", {}, key("#5b636c", "2 4"), "limit, to which r_t brings every step"))
  const note = element("p", {class: "note", "aria-live": "polite"})
  const rows = element("tbody")
  const heads = ["warmup", "T(omega)", "omega, last step", "mean omega", "lr × mean"]
  const table = element("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers of each warmup"},
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map(text =>
      element("th", {scope: "col"}, text)))), rows))
  place.replaceChildren(controls, omegas.figure, table, psi.figure, legend, note)

  /** The line of a curve, for a legend. */
  function key(color, dash) {
    const line = drawn("line", {x1: 1, x2: 29, y1: 6, y2: 6, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash})
    return drawn("svg", {class: "key", width: 30, height: 12, "aria-hidden": "true"}, line)
  }

  const LEFT = 62, RIGHT = 12, TOP = 10, BOTTOM = 40, HEIGHT = 300

  /** Empty the chart and draw its axes; returns where a point lies. */
  function axes(svg, x, y) {
    const width = Math.max(280, svg.parentElement.clientWidth)
    svg.setAttribute("width", width)
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`)
    svg.replaceChildren()
    const across = v => LEFT + x.at(v) * (width - LEFT - RIGHT)
    const down = v => HEIGHT - BOTTOM - y.at(v) * (HEIGHT - TOP - BOTTOM)
    for (const v of y.ticks) {
      svg.append(drawn("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: down(v), y2: down(v)}))
      svg.append(drawn("text", {x: LEFT - 8, y: down(v) + 4, "text-anchor": "end"}, short(v)))
    }
    for (const v of x.ticks) {
      const end = across(v) > width - 30
      svg.append(drawn("line", {class: "grid", x1: across(v), x2: across(v), y1: TOP, y2: HEIGHT - BOTTOM}))
      svg.append(drawn("text", {
        x: end ? width : across(v), y: HEIGHT - BOTTOM + 18, "text-anchor": end ? "end" : "middle",
      }, short(v)))
    }
    svg.append(drawn("text", {x: LEFT + (width - LEFT - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, "step"))
    return (v, w) => [across(v), down(w)]
  }

  const linear = (low, high, ticks) => ({at: v => (v - low) / (high - low), ticks})
  const logarithmic = (low, high) => {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9)
    const ticks = []
    for (let power = first; power <= last; power++) ticks.push(Number(`1e${power}`))
    return {at: v => Math.log10(v / low) / Math.log10(high / low), ticks}
  }

  /** Some steps from first to last: all of them where there are few. */
  function some(first, last, spread) {
    const count = 240
    if (last - first < count) return Array.from({length: last - first + 1}, (_, i) => first + i)
    const places = Array.from({length: count + 1}, (_, i) => Math.round(spread(i / count)))
    return [...new Set(places)]
  }

  function curve(svg, point, steps, f, attributes) {
    const points = steps.map(t => [t, f(t)]).filter(([, v]) => Number.isFinite(v))
    if (!points.length) return
    const path = points.map(([t, v]) => point(t, v).map(c => c.toFixed(2)).join(" ")).join("L")
    svg.append(drawn("path", {class: "curve", d: `M${path}`, fill: "none", "stroke-width": 2, ...attributes}))
  }

  function draw() {
    const {beta2, steps, lr, length} = state
    const warmups = Warmups.all(beta2, length)
    drawOmegas(warmups, steps, lr)
    drawTable(warmups, steps, lr)
    drawPsi(beta2, steps)
  }

  function drawOmegas(warmups, steps, lr) {
    const ticks = [0, 0.25, 0.5, 0.75, 1]
    const point = axes(omegas.svg, linear(1, steps, ticks.map(part => Math.max(1, Math.round(part * steps)))),
      linear(0, lr * 1.02, ticks.map(part => part * lr)))
    const dense = some(1, steps, part => 1 + part * (steps - 1))
    warmups.forEach((warmup, i) => {
      if (!shown.has(i)) return
      // A jump is drawn at its step.
      const own = warmup.name.startsWith("SecondMomentOnly") ? [state.length, state.length + 1].filter(t => t <= steps) : []
      const at = [...new Set([...dense, ...own])].sort((p, q) => p - q)
      curve(omegas.svg, point, at, t => lr * warmup.omega(t), {
        stroke: COLORS[i], "stroke-dasharray": DASHES[i], "data-name": warmup.name,
      })
    })
    omegas.svg.setAttribute("aria-label", `lr times omega over ${steps} steps for ${
      warmups.filter((_, i) => shown.has(i)).map(warmup => warmup.name).join(", ")}; the table below has the numbers`)
  }

  function drawTable(warmups, steps, lr) {
    const focused = document.activeElement?.id
    rows.replaceChildren(...warmups.map((warmup, i) => {
      const box = element("input", {type: "checkbox", id: `explorer-show-${i}`})
      box.checked = shown.has(i)
      box.addEventListener("change", () => {
        if (box.checked) shown.add(i)
        else shown.delete(i)
        draw()
      })
      const mean = Warmups.mean(warmup.omega, steps)
      const numbers = [warmup.period, warmup.omega(steps), mean, lr * mean]
      return element("tr", {},
        element("th", {scope: "row"}, element("label", {for: box.id}, box, key(COLORS[i], DASHES[i]),
          element("code", {}, warmup.name))),
        ...numbers.map(value => element("td", {"data-value": value}, short(value))))
    }))
    if (focused?.startsWith("explorer-show")) document.getElementById(focused).focus()
  }

  function drawPsi(beta2, steps) {
    const found = Warmups.variances(beta2)
    const last = Math.max(10, steps)
    const top = found["first-order"].at(5)
    const low = Math.min(found.ema.limit, found.ema.at(last))
    const x = logarithmic(1, last)
    const point = axes(psi.svg, x, logarithmic(low / 1.5, 1.5 * Math.max(top, found.ema.at(3))))
    const sampled = some(3, last, part => 3 * (last / 3) ** part)
    curve(psi.svg, point, [1, last], () => found.ema.limit, {
      stroke: "#5b636c", "stroke-width": 1.5, "stroke-dasharray": "2 4", "data-name": "limit",
    })
    for (const [name, , color, dash] of VARIANCES)
      curve(psi.svg, point, name === "first-order" ? sampled.filter(t => t >= 5) : sampled, found[name].at,
        {stroke: color, "stroke-dasharray": dash, "data-name": name})
    const {exact, ema} = found
    note.textContent = `At beta2 = ${beta2} the variance of psi is infinite in steps 1 and 2, ${short(ema.at(3))} at step 3, ${
      short(ema.at(10))} at step 10, ${short(ema.at(last))} at step ${last.toLocaleString("en-US")} and ${
      short(ema.limit)} in the limit (the EMA's own law; the chi-square law has ${short(exact.limit)} there).`
    psi.svg.setAttribute("aria-label", note.textContent)
  }

  new ResizeObserver(draw).observe(place)
  draw()
})()
