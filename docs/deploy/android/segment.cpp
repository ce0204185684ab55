// What is around the network on a phone: a frame becomes the float picture that it takes, its logits become labels. Where
// frames keep their proportions, they lie at the top left of the picture. As mmseg_erfnet.deploy.fixed does it in Python.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

struct Size {
    int height, width;
};

Size placed(int frame_height, int frame_width, int height, int width, bool keep_ratio) {
    if (!keep_ratio) return {height, width};
    const double scale = std::min(double(height) / frame_height, double(width) / frame_width);
    return {std::clamp(int(frame_height * scale + 0.5), 1, height), std::clamp(int(frame_width * scale + 0.5), 1, width)};
}

// Bilinear with half-pixel centres: the neighbours of a target position, and the weight of the second.
struct Tap {
    int first, second;
    float weight;
};

std::vector<Tap> taps(int from, int to) {
    std::vector<Tap> found(to);
    for (int i = 0; i < to; ++i) {
        const float at = std::max((i + 0.5f) * from / to - 0.5f, 0.0f);
        const int first = std::min(int(at), from - 1);
        found[i] = {first, std::min(first + 1, from - 1), at - first};
    }
    return found;
}

}  // namespace

extern "C" {

// uint8 (frame_height, frame_width, 3) BGR to float32 (3, height, width).
void frame_to_picture(const uint8_t* bgr, int frame_height, int frame_width, float* picture, int height, int width,
                      const float* fill, bool keep_ratio) {
    const Size size = placed(frame_height, frame_width, height, width, keep_ratio);
    const auto rows = taps(frame_height, size.height), columns = taps(frame_width, size.width);
    for (int c = 0; c < 3; ++c)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) {
                float& target = picture[(size_t(c) * height + y) * width + x];
                if (y >= size.height || x >= size.width) {
                    target = fill[c];
                    continue;
                }
                const auto at = [&](int row, int column) { return float(bgr[(size_t(row) * frame_width + column) * 3 + c]); };
                const Tap r = rows[y], q = columns[x];
                const float top = at(r.first, q.first) + q.weight * (at(r.first, q.second) - at(r.first, q.first));
                const float low = at(r.second, q.first) + q.weight * (at(r.second, q.second) - at(r.second, q.first));
                target = std::round(top + r.weight * (low - top));
            }
}

// float32 (classes, height, width) to uint8 (frame_height, frame_width).
void logits_to_labels(const float* logits, int classes, int height, int width, uint8_t* labels, int frame_height,
                      int frame_width, bool keep_ratio) {
    const Size size = placed(frame_height, frame_width, height, width, keep_ratio);
    const auto rows = taps(size.height, frame_height), columns = taps(size.width, frame_width);
    for (int y = 0; y < frame_height; ++y)
        for (int x = 0; x < frame_width; ++x) {
            const Tap r = rows[y], q = columns[x];
            float best = -INFINITY;
            uint8_t label = 0;
            for (int c = 0; c < classes; ++c) {
                const float* plane = logits + size_t(c) * height * width;
                const float *first = plane + size_t(r.first) * width, *second = plane + size_t(r.second) * width;
                const float top = first[q.first] + q.weight * (first[q.second] - first[q.first]);
                const float low = second[q.first] + q.weight * (second[q.second] - second[q.first]);
                const float value = top + r.weight * (low - top);
                if (value > best) best = value, label = uint8_t(c);
            }
            labels[size_t(y) * frame_width + x] = label;
        }
}
}

#ifdef __ANDROID__
#include <jni.h>

extern "C" JNIEXPORT void JNICALL Java_org_example_segment_Predictor_frameToPicture(
    JNIEnv* env, jobject, jbyteArray bgr, jint frame_height, jint frame_width, jfloatArray picture, jint height, jint width,
    jfloatArray fill, jboolean keep_ratio) {
    jbyte* from = env->GetByteArrayElements(bgr, nullptr);
    jfloat* to = env->GetFloatArrayElements(picture, nullptr);
    jfloat* colour = env->GetFloatArrayElements(fill, nullptr);
    frame_to_picture(reinterpret_cast<uint8_t*>(from), frame_height, frame_width, to, height, width, colour, keep_ratio);
    env->ReleaseFloatArrayElements(fill, colour, JNI_ABORT);
    env->ReleaseFloatArrayElements(picture, to, 0);
    env->ReleaseByteArrayElements(bgr, from, JNI_ABORT);
}

extern "C" JNIEXPORT void JNICALL Java_org_example_segment_Predictor_logitsToLabels(
    JNIEnv* env, jobject, jfloatArray logits, jint classes, jint height, jint width, jbyteArray labels, jint frame_height,
    jint frame_width, jboolean keep_ratio) {
    jfloat* from = env->GetFloatArrayElements(logits, nullptr);
    jbyte* to = env->GetByteArrayElements(labels, nullptr);
    logits_to_labels(from, classes, height, width, reinterpret_cast<uint8_t*>(to), frame_height, frame_width,
                     keep_ratio);
    env->ReleaseByteArrayElements(labels, to, 0);
    env->ReleaseFloatArrayElements(logits, from, JNI_ABORT);
}
#endif
