// A head with ARKit's morph targets, drawn with three.js: once, or twice side by side.
import {
  Box3,
  DirectionalLight,
  Group,
  HemisphereLight,
  LoadingManager,
  PerspectiveCamera,
  Scene,
  Vector3,
  WebGLRenderer,
} from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

import { oneLine, UserError } from "../errors.js";

const MAX_BYTES = 2 ** 27;
/** Field of view in degrees: that of a long lens, as for portraits. */
const VIEW_ANGLE = 16;
/** Side of the view per size of the bounding box of all that moves, in which crown and back of the head are
 * missing; the head's middle lies higher and deeper than the box's, by these shares of its height and width. */
const MARGIN = 1.65;
const HIGHER = 0.07;
const DEEPER = 0.3;
const RADIANS_PER_PIXEL = 0.008;
const MOST_YAW = 1.4;
const MOST_PITCH = 0.6;

export class Head {
  #renderer;
  #scene = new Scene();
  #camera = new PerspectiveCamera(VIEW_ANGLE, 1);
  /** Turns about the middle of the head. */
  #pivot = new Group();
  /** Half the side of the square that is in view. */
  #reach = 1;
  #decoder;
  /** @type {Map<string, {mesh: import("three").Mesh, index: number}[]>} by `plain` name */
  #targets = new Map();

  /**
   * @param {HTMLCanvasElement} canvas the head turns where it is dragged
   * @param {() => void} changed called when the head has to be drawn again
   * @param {object} [decoder] three's MeshoptDecoder, for GLBs that are compressed by it
   * @throws {Error} the browser offers no WebGL
   */
  constructor(canvas, changed, decoder = null) {
    // The drawing is kept for whoever prints or copies the canvas.
    const context = canvas.getContext("webgl2", { antialias: true, alpha: true, preserveDrawingBuffer: true });
    if (!context) throw new Error("no WebGL 2"); // three would write it to the console too
    this.canvas = canvas;
    this.#decoder = decoder;
    this.#renderer = new WebGLRenderer({ canvas, context });
    this.#renderer.setScissorTest(true);
    const light = (color, strength, ...from) => {
      const made = new DirectionalLight(color, strength);
      made.position.set(...from);
      this.#scene.add(made);
    };
    light(0xfff4e8, 2.1, -0.55, 0.6, 0.75);
    light(0xb8d4ff, 0.7, 0.9, 0.1, 0.45);
    light(0xd8e8ff, 1.6, 0.7, 0.5, -0.9);
    this.#scene.add(new HemisphereLight(0xeef3ff, 0x6a5a55, 0.9), this.#pivot);
    this.#turnable(changed);
  }

  /** Whether there is a head. */
  get loaded() {
    return this.#targets.size > 0;
  }

  /** How far the head is turned: three's Euler angles. */
  get rotation() {
    return this.#pivot.rotation;
  }

  /**
   * Load a head in place of the one before.
   *
   * @param {Blob} file a GLB
   * @param {string} name for messages
   * @param {string[]} channels
   * @returns {Promise<string[]>} the channels that it has a morph target for; `_L` and `_R` stand for
   *     Left and Right, and case and a prefix that ends with a dot are ignored
   * @throws {UserError} not a GLB, or no morph target has a channel's name; the head before stays
   */
  async load(file, name, channels) {
    if (file.size > MAX_BYTES) throw new UserError(`${name}: larger than 128 MB; reduce its textures`);
    const model = await parsed(file, name, this.#decoder);
    const targets = morphs(model);
    const known = channels.filter((channel) => targets.has(plain(channel)));
    const box = moving(model, known.flatMap((channel) => targets.get(plain(channel))));
    if (box.isEmpty()) {
      throw new UserError(`${name}: no morph target has the name of an ARKit blendshape, such as jawOpen`);
    }
    for (const old of [...this.#pivot.children]) {
      old.removeFromParent();
      dispose(old);
    }
    this.#targets = targets;
    const size = box.getSize(new Vector3());
    model.position.sub(box.getCenter(new Vector3())).add(new Vector3(0, -HIGHER * size.y, DEEPER * size.x));
    this.#reach = (MARGIN * Math.max(size.x, size.y)) / 2;
    this.#pivot.add(model);
    return known;
  }

  /** The influence of a channel's morph target in the last frame that was drawn. */
  influence(channel) {
    const [{ mesh, index }] = this.#targets.get(plain(channel));
    return mesh.morphTargetInfluences[index];
  }

  /**
   * Draw a head for each of these faces, side by side.
   *
   * @param {{channels: string[], weights: Float32Array}[]} faces
   */
  draw(faces) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio, 2);
    if (this.canvas.width !== Math.floor(width * ratio) || this.canvas.height !== Math.floor(height * ratio)) {
      this.#renderer.setPixelRatio(ratio);
      this.#renderer.setSize(width, height, false);
    }
    const part = width / faces.length;
    this.#look(part / height);
    faces.forEach(({ channels, weights }, i) => {
      channels.forEach((channel, c) => {
        for (const { mesh, index } of this.#targets.get(plain(channel)) ?? []) {
          mesh.morphTargetInfluences[index] = weights[c];
        }
      });
      this.#renderer.setViewport(i * part, 0, part, height);
      this.#renderer.setScissor(i * part, 0, part, height);
      this.#renderer.render(this.#scene, this.#camera);
    });
  }

  /** Place the camera so that the head fills the smaller side. */
  #look(aspect) {
    const distance = this.#reach / Math.tan((VIEW_ANGLE * Math.PI) / 360) / Math.min(aspect, 1);
    Object.assign(this.#camera, { aspect, near: distance / 20, far: distance * 20 });
    this.#camera.position.z = distance;
    this.#camera.updateProjectionMatrix();
  }

  #turnable(changed) {
    const within = (value, most) => Math.min(Math.max(value, -most), most);
    const { canvas } = this;
    const { rotation } = this.#pivot;
    rotation.set(0.03, 0.18, 0);
    canvas.addEventListener("pointerdown", ({ pointerId }) => canvas.setPointerCapture(pointerId));
    canvas.addEventListener("pointermove", ({ pointerId, movementX, movementY }) => {
      if (!canvas.hasPointerCapture(pointerId)) return;
      rotation.y = within(rotation.y + movementX * RADIANS_PER_PIXEL, MOST_YAW);
      rotation.x = within(rotation.x + movementY * RADIANS_PER_PIXEL, MOST_PITCH);
      changed();
    });
  }
}

async function parsed(file, name, decoder) {
  const manager = new LoadingManager().setURLModifier((url) => {
    if (/^(blob|data):/.test(url)) return url;
    throw new UserError(`${name}: it lacks ${url}; put everything into the GLB`);
  });
  const loader = new GLTFLoader(manager).setMeshoptDecoder(decoder);
  try {
    return (await loader.parseAsync(await file.arrayBuffer(), "")).scene;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name}: not a GLB that this page reads (${oneLine(error)})`);
  }
}

/** Morph targets by `plain` name. */
function morphs(model) {
  const found = new Map();
  model.traverse((mesh) => {
    for (const [name, index] of Object.entries(mesh.morphTargetDictionary ?? {})) {
      const key = plain(name);
      found.set(key, [...(found.get(key) ?? []), { mesh, index }]);
    }
  });
  return found;
}

/** jawOpen, JawOpen, blendShape1.jawOpen; eyeBlinkLeft, eyeBlink_L, eye_blink_left. */
function plain(name) {
  const bare = name.slice(name.lastIndexOf(".") + 1);
  return bare.replace(/_L$/i, "Left").replace(/_R$/i, "Right").replaceAll("_", "").toLowerCase();
}

/** Bounding box of the vertices that any of these morph targets moves: the face, without a body. */
function moving(model, targets) {
  model.updateMatrixWorld(true);
  const box = new Box3();
  const point = new Vector3();
  for (const mesh of new Set(targets.map((target) => target.mesh))) {
    const indices = targets.filter((target) => target.mesh === mesh).map(({ index }) => index);
    const deltas = indices.map((index) => mesh.geometry.morphAttributes.position[index]);
    for (let v = 0; v < mesh.geometry.attributes.position.count; v++) {
      if (!deltas.some((delta) => delta.getX(v) || delta.getY(v) || delta.getZ(v))) continue;
      box.expandByPoint(mesh.getVertexPosition(v, point).applyMatrix4(mesh.matrixWorld));
    }
  }
  return box;
}

function dispose(model) {
  model.traverse(({ geometry, material }) => {
    geometry?.dispose();
    for (const one of [material].flat().filter(Boolean)) {
      for (const value of Object.values(one)) if (value?.isTexture) value.dispose();
      one.dispose();
    }
  });
}
