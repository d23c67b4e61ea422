// The mlp without any library: forward, backward, dropout 0.2, Adam, one thread. Prints the seconds of each epoch.
// Arguments: rows, batch size, then the widths of all layers from input to output (1).
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

using Floats = std::vector<float>;

static uint64_t state = 88172645463325252ull;
static inline uint64_t next() { state ^= state << 13; state ^= state >> 7; return state ^= state << 17; }
static inline float uniform() { return (next() >> 40) * (1.0f / (1 << 24)); }

struct Layer {
    int in, out;
    Floats w, b, gw, gb, mw, vw, mb, vb, a, d, mask;
    Layer(int in, int out, int batch)
        : in(in), out(out), w(in * out), b(out), gw(in * out), gb(out), mw(in * out), vw(in * out), mb(out), vb(out),
          a(batch * out), d(batch * out), mask(batch * out) {
        float bound = 1 / std::sqrt(float(in));
        for (float& x : w) x = (2 * uniform() - 1) * bound;
        for (float& x : b) x = (2 * uniform() - 1) * bound;
    }
};

static void adam(Floats& p, Floats& g, Floats& m, Floats& v, float rate, float c1, float c2) {
    for (size_t i = 0; i < p.size(); i++) {
        m[i] = 0.9f * m[i] + 0.1f * g[i];
        v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
        p[i] -= rate * (m[i] / c1) / (std::sqrt(v[i] / c2) + 1e-8f);
    }
}

int main(int argc, char** argv) {
    int rows = atoi(argv[1]), batch = atoi(argv[2]), width = atoi(argv[3]);
    std::vector<Layer> net;
    for (int i = 4; i < argc; i++) net.emplace_back(atoi(argv[i - 1]), atoi(argv[i]), batch);
    Floats x(size_t(rows) * width), y(rows), input(size_t(batch) * width);
    for (float& value : x) value = 2 * uniform() - 1;
    for (int r = 0; r < rows; r++) y[r] = std::accumulate(&x[size_t(r) * width], &x[size_t(r + 1) * width], 0.0f) > 0;
    std::vector<int> order(rows);
    std::iota(order.begin(), order.end(), 0);
    float power1 = 1, power2 = 1;
    for (;;) {
        auto began = std::chrono::steady_clock::now();
        for (int i = rows - 1; i > 0; i--) std::swap(order[i], order[next() % (i + 1)]);
        for (int first = 0; first < rows; first += batch) {
            int n = std::min(batch, rows - first);
            for (int r = 0; r < n; r++)
                for (int i = 0; i < width; i++) input[r * width + i] = x[size_t(order[first + r]) * width + i];
            const float* below = input.data();
            for (size_t l = 0; l < net.size(); l++) {
                Layer& layer = net[l];
                bool last = l + 1 == net.size();
                for (int r = 0; r < n; r++) {
                    float* out = &layer.a[r * layer.out];
                    for (int o = 0; o < layer.out; o++) out[o] = layer.b[o];
                    for (int i = 0; i < layer.in; i++) {
                        float value = below[r * layer.in + i];
                        const float* w = &layer.w[i * layer.out];
                        for (int o = 0; o < layer.out; o++) out[o] += value * w[o];
                    }
                    if (!last)
                        for (int o = 0; o < layer.out; o++) {
                            float keep = uniform() >= 0.2f ? 1.25f : 0.0f;
                            layer.mask[r * layer.out + o] = keep;
                            out[o] = out[o] > 0 ? out[o] * keep : 0;
                        }
                }
                below = layer.a.data();
            }
            Layer& top = net.back();
            for (int r = 0; r < n; r++) top.d[r] = (1 / (1 + std::exp(-top.a[r])) - y[order[first + r]]) / n;
            power1 *= 0.9f, power2 *= 0.999f;
            for (int l = int(net.size()) - 1; l >= 0; l--) {
                Layer& layer = net[l];
                const float* a = l ? net[l - 1].a.data() : input.data();
                std::fill(layer.gw.begin(), layer.gw.end(), 0.0f);
                std::fill(layer.gb.begin(), layer.gb.end(), 0.0f);
                for (int r = 0; r < n; r++) {
                    const float* d = &layer.d[r * layer.out];
                    for (int o = 0; o < layer.out; o++) layer.gb[o] += d[o];
                    for (int i = 0; i < layer.in; i++) {
                        float value = a[r * layer.in + i];
                        float* g = &layer.gw[i * layer.out];
                        const float* w = &layer.w[i * layer.out];
                        float sum = 0;
                        for (int o = 0; o < layer.out; o++) g[o] += value * d[o], sum += w[o] * d[o];
                        if (l) net[l - 1].d[r * layer.in + i] = value > 0 ? sum * net[l - 1].mask[r * layer.in + i] : 0;
                    }
                }
                adam(layer.w, layer.gw, layer.mw, layer.vw, 0.001f, 1 - power1, 1 - power2);
                adam(layer.b, layer.gb, layer.mb, layer.vb, 0.001f, 1 - power1, 1 - power2);
            }
        }
        std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
        std::printf("%.9f\n", taken.count());
        std::fflush(stdout);
    }
}
