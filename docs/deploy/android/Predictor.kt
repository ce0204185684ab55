// Gradle: implementation("com.google.ai.edge.litert:litert:2.1.0") and externalNativeBuild with the CMakeLists.txt beside.
// Files: app/src/main/assets/erfnet_camvid11_litert.tflite and .json, as `export --format litert` writes them.
package org.example.segment

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import org.json.JSONObject

/** uint8 frame in, uint8 labels out. Not for several threads at once. */
class Predictor(context: Context, name: String) : AutoCloseable {
    private val about = JSONObject(context.assets.open("$name.json").bufferedReader().readText())
    private val height = about.getJSONArray("picture").getInt(0)
    private val width = about.getJSONArray("picture").getInt(1)
    private val fill = about.getJSONArray("fill").let { FloatArray(3) { index -> it.getDouble(index).toFloat() } }
    private val keepRatio = about.optJSONObject("resize")?.getBoolean("keep_ratio") ?: false
    private val model = CompiledModel.create(context.assets, "$name.tflite", CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    val classes = about.getJSONArray("classes").let { List(it.length()) { index -> it.getString(index) } }

    /** @param bgr frameHeight x frameWidth x 3 bytes. @return frameHeight x frameWidth bytes, each the index of a class. */
    fun predict(bgr: ByteArray, frameHeight: Int, frameWidth: Int): ByteArray {
        require(bgr.size == frameHeight * frameWidth * 3) { "A frame has height x width x 3 bytes." }
        val picture = FloatArray(3 * height * width)
        frameToPicture(bgr, frameHeight, frameWidth, picture, height, width, fill, keepRatio)
        inputs[0].writeFloat(picture)
        model.run(inputs, outputs)
        val labels = ByteArray(frameHeight * frameWidth)
        logitsToLabels(
            outputs[0].readFloat(), classes.size, height, width, labels, frameHeight, frameWidth, keepRatio
        )
        return labels
    }

    override fun close() = model.close()

    private external fun frameToPicture(
        bgr: ByteArray, frameHeight: Int, frameWidth: Int, picture: FloatArray, height: Int, width: Int, fill: FloatArray,
        keepRatio: Boolean
    )

    private external fun logitsToLabels(
        logits: FloatArray, classes: Int, height: Int, width: Int, labels: ByteArray, frameHeight: Int, frameWidth: Int,
        keepRatio: Boolean
    )

    private companion object {
        init {
            System.loadLibrary("segment")
        }
    }
}
