// Draws coloured surfaces in a canvas, to be turned with the mouse or the arrow keys. Needs nothing but the browser.
// `where` is the id of the element that holds canvas, select and buttons; `data` comes from plotting.surface_view.
function surfaceView(where, data) {
  const root = document.getElementById(where), canvas = root.querySelector("canvas"), menu = root.querySelector("select");
  const width = canvas.width, height = canvas.height, context = canvas.getContext("2d");
  const image = context.createImageData(width, height), nearest = new Float32Array(width * height);
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
  const faces = new Uint16Array(bytes(data.faces)), colors = new Uint8Array(bytes(data.colors));
  const points = data.points.map((text) => new Int16Array(bytes(text)));
  const folds = data.folds.map((text) => new Uint8Array(bytes(text)));
  const values = data.values.map((sides) => sides.map((text) => new Uint8Array(bytes(text))));
  const n = points[0].length / 3, place = new Float32Array(3 * n), normal = new Float32Array(3 * n);
  const rgb = new Float32Array(3 * n);
  let side = data.side, turn = side ? 0 : Math.PI, tilt = 0, waiting = false;

  function rotate() { // x to the right, y upwards, z towards the reader; the data's y runs forwards and its z upwards
    const [c, s, ct, st] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const scale = (0.46 * Math.min(width / 1.35, height)) / 32767 * 1.35, xyz = points[side];
    for (let i = 0; i < 3 * n; i += 3) {
      const across = -s * xyz[i] + c * xyz[i + 1], near = c * xyz[i] + s * xyz[i + 1], up = xyz[i + 2];
      place[i] = width / 2 + scale * across;
      place[i + 1] = height / 2 - scale * (ct * up - st * near);
      place[i + 2] = scale * (st * up + ct * near);
    }
  }

  function shade() { // the more a place faces the reader, the brighter
    normal.fill(0);
    const map = values[menu.selectedIndex][side];
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const u = [0, 1, 2].map((k) => place[b + k] - place[a + k]), v = [0, 1, 2].map((k) => place[c + k] - place[a + k]);
      for (let k = 0; k < 3; k++) {
        const part = u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3];
        normal[a + k] += part; normal[b + k] += part; normal[c + k] += part;
      }
    }
    for (let i = 0; i < n; i++) {
      const length = Math.hypot(normal[3 * i], normal[3 * i + 1], normal[3 * i + 2]) || 1;
      const light = 0.5 + 0.5 * Math.abs(normal[3 * i + 2]) / length;
      for (let k = 0; k < 3; k++) rgb[3 * i + k] = light * (map[i] === 255 ? folds[side][i] : colors[3 * map[i] + k]);
    }
  }

  function draw() {
    waiting = false;
    rotate();
    shade();
    image.data.fill(0);
    nearest.fill(-Infinity);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const [ax, ay, bx, by, cx, cy] = [place[a], place[a + 1], place[b], place[b + 1], place[c], place[c + 1]];
      const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
      if (!area) continue;
      for (let y = Math.max(0, Math.ceil(Math.min(ay, by, cy))); y <= Math.min(height - 1, Math.max(ay, by, cy)); y++) {
        for (let x = Math.max(0, Math.ceil(Math.min(ax, bx, cx))); x <= Math.min(width - 1, Math.max(ax, bx, cx)); x++) {
          const p = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area;
          const q = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area, r = 1 - p - q;
          if (p < 0 || q < 0 || r < 0) continue;
          const z = p * place[a + 2] + q * place[b + 2] + r * place[c + 2], at = y * width + x;
          if (z <= nearest[at]) continue;
          nearest[at] = z;
          for (let k = 0; k < 3; k++) image.data[4 * at + k] = p * rgb[a + k] + q * rgb[b + k] + r * rgb[c + k];
          image.data[4 * at + 3] = 255;
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  function later() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }
  function move(across, up) {
    turn -= across;
    tilt = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, tilt + up));
    later();
  }
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) move(event.movementX / 120, event.movementY / 120); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    if (step) { event.preventDefault(); move(...step); }
  });
  menu.addEventListener("change", later);
  for (const button of root.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const [name, value] = button.dataset.to.split(" ");
      if (name === "side") side = Number(value);
      const outward = side ? 0 : Math.PI;
      [turn, tilt] = { side: [outward, 0], lateral: [outward, 0], medial: [outward + Math.PI, 0], ventral: [outward, -Math.PI / 2] }[name];
      later();
    });
  }
  draw();
}
