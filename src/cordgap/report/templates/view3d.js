"use strict";
(() => {
  const { bodies, box } = JSON.parse(document.getElementById("data").textContent);
  const scene = document.getElementById("scene");
  // Plotly reads some marks in names as HTML: names are shown as text by the buttons, never by it.
  const traces = bodies.map((body, n) => ({
    type: "mesh3d", x: body.x, y: body.y, z: body.z, i: body.i, j: body.j, k: body.k,
    color: body.color, opacity: body.opacity, name: "structure " + (n + 1), flatshading: false,
    lighting: { ambient: 0.55, diffuse: 0.7, specular: 0.15, roughness: 0.8 },
    hovertemplate: "x %{x:.1f}, y %{y:.1f}, z %{z:.1f} mm<extra></extra>",
  }));
  // One scale on all axes, whatever is hidden.
  const extent = box.map(([low, high]) => high - low);
  const ratio = extent.map((length) => (1.45 * length) / Math.max(...extent));
  const axis = (title, range) => ({ title: { text: title }, range, autorange: false,
    backgroundcolor: "#f7f7f7", showbackground: true, gridcolor: "#cccccc", zeroline: false });
  const eyes = {
    anterior: [0, -2.4, 0], posterior: [0, 2.4, 0], left: [2.4, 0, 0], right: [-2.4, 0, 0],
    head: [0, 0, 2.4], feet: [0, 0, -2.4],
  };
  const camera = ([x, y, z]) => ({ eye: { x, y, z },
    up: z * z > x * x + y * y ? { x: 0, y: -1, z: 0 } : { x: 0, y: 0, z: 1 } });
  const layout = {
    margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, paper_bgcolor: "#ffffff",
    scene: {
      aspectmode: "manual", aspectratio: { x: ratio[0], y: ratio[1], z: ratio[2] },
      // A little lower than the middle, so that the words of the axes below are seen.
      camera: { ...camera([-1.4, 2.0, 0.95]), center: { x: 0, y: 0, z: -0.12 } },
      xaxis: axis("x [mm], to patient left", box[0]), yaxis: axis("y [mm], to posterior", box[1]),
      zaxis: axis("z [mm], to head", box[2]),
    },
  };
  Plotly.newPlot(scene, traces, layout, { responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["toImage", "resetCameraLastSave3d"] });
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () =>
      Plotly.relayout(scene, { "scene.camera": camera(eyes[button.dataset.view]) }));
  }
  for (const button of document.querySelectorAll("[data-body]")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      Plotly.restyle(scene, { visible: on }, [Number(button.dataset.body)]);
    });
  }
})();
