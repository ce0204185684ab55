// segment MODEL.xml FRAME.ppm LABELS.pgm: uint8 frame in, uint8 labels out. The model prepares the frame itself.
#include <openvino/openvino.hpp>

#include <chrono>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Frame {
    size_t width = 0, height = 0;
    std::vector<uint8_t> bgr;
};

Frame read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    size_t most = 0;
    Frame frame;
    if (!(file >> magic >> frame.width >> frame.height >> most) || magic != "P6" || most != 255)
        throw std::runtime_error(path + " is no binary PPM (P6) of 8 bits: convert the picture.");
    file.get();
    frame.bgr.resize(frame.width * frame.height * 3);
    if (!file.read(reinterpret_cast<char*>(frame.bgr.data()), frame.bgr.size()))
        throw std::runtime_error(path + " is truncated: copy it again.");
    for (size_t i = 0; i < frame.bgr.size(); i += 3) std::swap(frame.bgr[i], frame.bgr[i + 2]);
    return frame;
}

int main(int argc, char** argv) try {
    if (argc != 4) throw std::runtime_error("usage: segment MODEL.xml FRAME.ppm LABELS.pgm");
    Frame frame = read_ppm(argv[2]);
    const ov::Shape shape{1, frame.height, frame.width, 3};

    ov::Core core;
    std::shared_ptr<ov::Model> model = core.read_model(argv[1]);
    model->reshape({{"frames", ov::PartialShape(shape)}});
    ov::CompiledModel compiled = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32),
                                                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
    ov::InferRequest request = compiled.create_infer_request();
    request.set_input_tensor(ov::Tensor(ov::element::u8, shape, frame.bgr.data()));
    request.infer();  // the first one warms up
    const auto started = std::chrono::steady_clock::now();
    request.infer();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - started;

    // The first output has the frame's size; a second one, if there, the network's own.
    const ov::Tensor labels = request.get_output_tensor(0);
    std::ofstream file(argv[3], std::ios::binary);
    file << "P5\n" << frame.width << " " << frame.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(labels.data<uint8_t>()), labels.get_byte_size());
    if (!file.flush()) throw std::runtime_error(std::string(argv[3]) + " cannot be written: check the folder.");
    std::cout << frame.width << "x" << frame.height << " in " << taken.count() << " ms\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
}
