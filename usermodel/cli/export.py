"""usermodel export"""

from __future__ import annotations

from usermodel.cli import common


def export(
    run: common.RunPath,
    out: common.Out,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Write the encoder as an ONNX file such as encoder.onnx, compared with the encoder first. For items see embed."""
    from usermodel.encoders import io, onnx

    onnx.libraries()
    done = onnx.export(io.load(run, allow_modules=allow_module or ()), out, overwrite=overwrite)
    common.say(f"opset {done.opset}, inputs {', '.join(done.inputs)}, {done.bytes:,} bytes")
    common.say(f"largest difference from the encoder: {done.parity:.1e}")
    common.say(f"wrote {out}")
