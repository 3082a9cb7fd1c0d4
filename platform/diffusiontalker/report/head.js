"use strict";
// A head in plain WebGL 2. Morphing and normals are computed here on each frame: a few thousand
// vertices take a fraction of a millisecond, and the page needs no library.

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer); // every device that browsers run on is little-endian
}

class Rig {
  constructor(data) {
    this.fps = data.fps;
    this.frames = data.frames;
    this.channels = data.channels;
    this.neutral = unpack(data.positions, Float32Array);
    this.triangles = unpack(data.triangles, Uint32Array);
    this.colors = Float32Array.from(unpack(data.colors, Uint8Array), (n) => n / 255);
    this.weld = unpack(data.weld, Uint32Array);
    this.starts = data.starts;
    this.indices = unpack(data.indices, Uint32Array);
    this.deltas = unpack(data.deltas, Int16Array);
    this.deltaScale = data.delta_scale;
    this.eyes = data.eyes.map((eye) => ({ ...eye, vertices: unpack(eye.vertices, Uint32Array) }));
    this.faces = Object.fromEntries(
      Object.entries(data.faces).map(([name, text]) => [name, unpack(text, Int16Array)]),
    );
    this.unit = 1 / data.coefficient_scale;
    for (const eye of this.eyes) this.aim(eye);
  }

  /** An eyeball's colour becomes its direction, from which the shader paints a round iris. */
  aim({ vertices, center }) {
    for (const v of vertices) {
      const offset = center.map((middle, k) => this.neutral[3 * v + k] - middle);
      this.colors.set(offset.map((n) => n / Math.hypot(...offset)), 4 * v);
    }
  }

  /** Where the brows grow: (x, y) above the middle of each eye and the width, in metres. */
  brows() {
    if (this.eyes.length !== 2) return [1, 1, 1]; // nowhere on a head
    const [a, b] = this.eyes.map((eye) => eye.center);
    const apart = Math.abs(a[0] - b[0]);
    return [apart / 2, (a[1] + b[1]) / 2 + 0.29 * apart, 0.36 * apart];
  }

  /** Coefficients of a face at a time in seconds, linear between frames. */
  coefficients(name, seconds) {
    const at = Math.min(Math.max(seconds * this.fps, 0), this.frames - 1);
    const frame = Math.floor(at);
    const next = Math.min(frame + 1, this.frames - 1);
    const values = this.faces[name];
    const width = this.channels.length;
    return this.channels.map((_, c) => {
      const from = values[frame * width + c];
      return (from + (values[next * width + c] - from) * (at - frame)) * this.unit;
    });
  }

  /** v = mean + sum of w delta, and the eyeballs turned; into `out`. */
  pose(weights, out) {
    out.set(this.neutral);
    for (let c = 0; c < weights.length; c++) {
      const w = weights[c] * this.deltaScale;
      if (w === 0) continue;
      for (let n = this.starts[c]; n < this.starts[c + 1]; n++) {
        const v = 3 * this.indices[n];
        out[v] += w * this.deltas[3 * n];
        out[v + 1] += w * this.deltas[3 * n + 1];
        out[v + 2] += w * this.deltas[3 * n + 2];
      }
    }
    for (const eye of this.eyes) this.turn(eye, weights, out);
  }

  turn({ vertices, center: [cx, cy, cz], side }, weights, out) {
    const weight = (name) => weights[this.channels.indexOf(name + side)];
    const outward = weight("eyeLookOut") - weight("eyeLookIn"); // away from the nose
    const yaw = (side === "Left" ? 0.5 : -0.5) * outward; // about 30 degrees at 1
    const pitch = 0.4 * (weight("eyeLookDown") - weight("eyeLookUp"));
    const [cosYaw, sinYaw, cosPitch, sinPitch] = [
      Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch),
    ];
    for (const v of vertices) {
      const x = this.neutral[3 * v] - cx;
      const y = this.neutral[3 * v + 1] - cy;
      const z = this.neutral[3 * v + 2] - cz;
      const up = y * cosPitch - z * sinPitch;
      const forward = y * sinPitch + z * cosPitch;
      out[3 * v] = cx + x * cosYaw + forward * sinYaw;
      out[3 * v + 1] = cy + up;
      out[3 * v + 2] = cz - x * sinYaw + forward * cosYaw;
    }
  }

  /** Area-weighted vertex normals, shared across seams; the shader sets their length to 1. */
  normals(points, out) {
    out.fill(0);
    const { triangles, weld } = this;
    for (let t = 0; t < triangles.length; t += 3) {
      const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
      const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
      const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      for (let k = 0; k < 3; k++) {
        const v = 3 * weld[triangles[t + k]];
        out[v] += nx;
        out[v + 1] += ny;
        out[v + 2] += nz;
      }
    }
    for (let v = 0; v < weld.length; v++) {
      const from = 3 * weld[v];
      if (from !== 3 * v) out.copyWithin(3 * v, from, from + 3);
    }
  }
}

const VERTEX_SHADER = `#version 300 es
uniform mat4 view, projection;
in vec3 position, normal, neutral;
in vec4 color;
out vec3 seen, facing, home;
out vec4 paint;
void main() {
  vec4 place = view * vec4(position, 1.0);
  seen = place.xyz;
  facing = mat3(view) * normal;
  paint = color;
  home = neutral;
  gl_Position = projection * place;
}`;

// Three soft lights that stand still while the head turns. Light wraps around skin, redder in the
// half shade, as it does where it scatters below the surface.
const FRAGMENT_SHADER = `#version 300 es
precision highp float;
uniform vec3 brow; // middle (x, y) and half width; see Rig.brows
in vec3 seen, facing, home;
in vec4 paint;
out vec4 pixel;
vec3 eyeball(vec3 direction) {
  float angle = atan(length(direction.xy), direction.z);
  vec3 iris = mix(vec3(0.05, 0.13, 0.19), vec3(0.17, 0.29, 0.34), 1.0 - smoothstep(0.22, 0.48, angle));
  vec3 color = mix(vec3(0.006), iris, smoothstep(0.17, 0.21, angle));
  color = mix(color, vec3(0.015, 0.03, 0.04), smoothstep(0.36, 0.44, angle));
  return mix(color, vec3(0.72, 0.69, 0.66), smoothstep(0.44, 0.50, angle));
}
float browness() {
  float along = (abs(home.x) - brow.x) / brow.z; // -1 at the nose, 1 at the temple
  float middle = brow.y + brow.z * (0.10 - 0.24 * (along - 0.25) * (along - 0.25));
  float thick = brow.z * mix(0.19, 0.05, smoothstep(-0.9, 1.0, along));
  float across = 1.0 - smoothstep(0.25, 1.0, abs(home.y - middle) / thick);
  return across * smoothstep(-1.05, -0.75, along) * (1.0 - smoothstep(0.8, 1.08, along))
    * step(-2.0 * brow.z, home.z);
}
vec3 wrapped(vec3 n, vec3 towards, vec3 wrap) {
  return max((dot(n, normalize(towards)) + wrap) / (1.0 + wrap), 0.0);
}
float shine(vec3 n, vec3 towards, vec3 eye, float power) {
  return pow(max(dot(n, normalize(normalize(towards) + eye)), 0.0), power);
}
void main() {
  vec3 n = normalize(facing);
  if (!gl_FrontFacing) n = -n;
  vec3 eye = normalize(-seen);
  vec3 key = vec3(-0.55, 0.6, 0.75), fill = vec3(0.9, 0.1, 0.45), back = vec3(0.5, 0.5, -0.8);
  vec3 soft = mix(vec3(0.42, 0.22, 0.16), vec3(0.1), paint.a);
  vec3 light = 0.98 * vec3(1.0, 0.96, 0.90) * wrapped(n, key, soft)
    + 0.26 * vec3(0.72, 0.84, 1.0) * wrapped(n, fill, soft)
    + mix(vec3(0.10, 0.08, 0.08), vec3(0.20, 0.23, 0.28), 0.5 + 0.5 * n.y);
  float rim = pow(1.0 - max(dot(n, eye), 0.0), 3.0) * max(dot(n, normalize(back)) + 0.35, 0.0);
  float gloss = mix(0.10 * shine(n, key, eye, 18.0) + 0.03 * shine(n, fill, eye, 12.0),
    0.9 * shine(n, key, eye, 220.0), paint.a);
  vec3 skin = mix(paint.rgb, vec3(0.10, 0.055, 0.035), 0.8 * browness());
  vec3 linear = mix(skin, eyeball(normalize(paint.rgb + 1e-6)), step(0.5, paint.a)) * light + gloss + 0.5 * rim * vec3(0.85, 0.92, 1.0);
  linear = linear * (1.0 + linear * 0.12) / (1.0 + linear * 0.42); // highlights roll off
  pixel = vec4(pow(linear, vec3(1.0 / 2.2)), 1.0);
}`;

class Head {
  constructor(canvas, rig) {
    this.canvas = canvas;
    this.rig = rig;
    this.gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("WebGL 2 is not there");
    this.points = new Float32Array(rig.neutral.length);
    this.directions = new Float32Array(rig.neutral.length);
    this.build();
  }

  build() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniforms = ["view", "projection", "brow"].map((name) => gl.getUniformLocation(program, name));
    const attribute = (name, width) => {
      const buffer = gl.createBuffer();
      const location = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, width, gl.FLOAT, false, 0, 0);
      return buffer;
    };
    this.position = attribute("position", 3);
    this.normal = attribute("normal", 3);
    attribute("neutral", 3);
    gl.bufferData(gl.ARRAY_BUFFER, this.rig.neutral, gl.STATIC_DRAW);
    attribute("color", 4);
    gl.bufferData(gl.ARRAY_BUFFER, this.rig.colors, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.rig.triangles, gl.STATIC_DRAW);
    gl.uniform3f(this.uniforms[2], ...this.rig.brows());
    gl.enable(gl.DEPTH_TEST);
  }

  /** Draw one face at a time in seconds, turned by yaw and pitch in radians. */
  draw(face, seconds, yaw, pitch) {
    const { gl, canvas, rig } = this;
    const density = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(Math.round(n * density), 1));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    rig.pose(rig.coefficients(face, seconds), this.points);
    rig.normals(this.points, this.directions);
    for (const [buffer, values] of [[this.position, this.points], [this.normal, this.directions]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(this.uniforms[0], false, viewMatrix(yaw, pitch));
    gl.uniformMatrix4fv(this.uniforms[1], false, projectionMatrix(width / height));
    gl.drawElements(gl.TRIANGLES, rig.triangles.length, gl.UNSIGNED_INT, 0);
  }
}

const DISTANCE = 0.95; // metres from the camera to the middle of the head
const MIDDLE = [0, -0.012, -0.05]; // the rig's origin lies between the eyes

/** Turn about the middle of the head, then step back; column-major. */
function viewMatrix(yaw, pitch) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const rows = [[cy, 0, sy], [sp * sy, cp, -sp * cy], [-cp * sy, sp, cp * cy]];
  const shift = rows.map((row) => -row.reduce((sum, value, k) => sum + value * MIDDLE[k], 0));
  return [0, 1, 2].flatMap((k) => [...rows.map((row) => row[k]), 0]).concat(shift[0], shift[1], shift[2] - DISTANCE, 1);
}

function projectionMatrix(aspect) {
  const reach = 6.7 * Math.min(1, aspect); // a head of 0.24 m nearly fills the smaller side
  const [near, far] = [0.3, 2];
  return [
    reach / aspect, 0, 0, 0,
    0, reach, 0, 0,
    0, 0, (far + near) / (near - far), -1,
    0, 0, (2 * far * near) / (near - far), 0,
  ];
}
