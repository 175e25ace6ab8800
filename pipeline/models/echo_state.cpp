// Driving a reservoir, and the sums of the normal equations that its readout is fitted by.
//
// Equations, symbols and sources are those of pipeline/models/reservoir.py and pipeline/models/echo_state.py;
// pipeline/models/echo_state_compiled.py calls this.
//
// Shapes: C steps, B streams, I inputs, N units, K connections a unit has, R rows, M numbers of a row.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

using Int = int64_t;

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8;         // of a vector; of a tile, whose sums fill the vector registers
#elif defined(__AVX2__)
constexpr int BYTES = 32, ROWS = 4;
#else
constexpr int BYTES = 16, ROWS = 3;
#endif
constexpr int VECTORS = 3;                  // side by side in a tile
constexpr Int DEPTH = 96;                  // rows that are multiplied at once, packed: 750 kB of 1000 numbers each
constexpr int SIDE = 4;                     // vectors of streams whose units listen at once
constexpr Int BLOCK = 32;                   // units whose states are turned round together

template <class T> using Vector __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)) = T;
template <class T> constexpr Int LANES = BYTES / sizeof(T);
constexpr Int PANEL = VECTORS * LANES<double>;
static_assert(PANEL % ROWS == 0, "a tile lies in one panel");

template <class T> inline Vector<T>& vector(T* at) { return *(Vector<T>*)at; }
template <class T> inline const Vector<T>& vector(const T* at) { return *(const Vector<T>*)at; }

// ---- Driving -----------------------------------------------------------------------------------------------------------------------

// For a <= 0, e^a - 1 to rounding however small it is: power series + (power - 1), where a = n log 2 + r, |r| <= log(2) / 2, power = 2^n and
// series = e^r - 1, to a term below rounding. NaN stays NaN.
inline double exponential_less_one(double a) {
    a = a < -700 ? -700 : a;
    const double shift = 6755399441055744.0;        // 1.5 * 2^52: adding it rounds to whole numbers
    const double shifted = a * 1.4426950408889634074 + shift, n = shifted - shift;
    const double r = a - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10;     // log 2 in two parts
    double series = 1.0 / 6227020800;
    series = series * r + 1.0 / 479001600;
    series = series * r + 1.0 / 39916800;
    series = series * r + 1.0 / 3628800;
    series = series * r + 1.0 / 362880;
    series = series * r + 1.0 / 40320;
    series = series * r + 1.0 / 5040;
    series = series * r + 1.0 / 720;
    series = series * r + 1.0 / 120;
    series = series * r + 1.0 / 24;
    series = series * r + 1.0 / 6;
    series = series * r + 0.5;
    series = series * r * r + r;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof(bits));          // ends with n
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof(power));
    return power * series + (power - 1);
}

inline float exponential_less_one(float a) {
    a = a < -87.0f ? -87.0f : a;
    const float shift = 12582912.0f;                // 1.5 * 2^23
    const float shifted = a * 1.44269504088896341f + shift, n = shifted - shift;
    const float r = a - n * 0.693145751953125f - n * 1.42860682030941723e-6f;
    float series = 1.0f / 5040;
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r * r + r;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return power * series + (power - 1);
}

// With e = e^-2|a| - 1: -e / (2 + e), and the sign of a.
template <class T> inline T hyperbolic_tangent(T a) {
    const T e = exponential_less_one(a < 0 ? 2 * a : -2 * a), t = -e / (2 + e);
    return a < 0 ? -t : t;
}

// What units hear -> the states after, from those before.
template <class T> inline void squash(Int count, const T* before, T leak, T* heard) {
    const T kept = 1 - leak;
#pragma GCC ivdep
    for (Int i = 0; i < count; i++) heard[i] = kept * before[i] + leak * hyperbolic_tangent(heard[i]);
}

struct Reservoir {
    Int N, K, I;
    const Int* columns;         // [N, K]
    const void* weights;        // [N, K]
    const void* input_weight;   // [N, I]
    const void* bias;           // [N]
    double leak;
};

struct Drive {
    Int C, B;
    const void* inputs;         // [C, B, I], or null
    const Int* symbols;         // [C, B], or null; I and more: unknown
    void* x;                    // [N, B], the states before; the ones after the last step are written over them
    double* seen;               // [C, B, N], the states after each step, rows `row` apart
    Int row;
};

// W_in v + b of one unit for a symbol.
template <class T> inline T of_symbol(const Reservoir& of, Int n, Int symbol) {
    return ((const T*)of.bias)[n] + (symbol < of.I ? ((const T*)of.input_weight)[n * of.I + symbol] : T(0));
}

// Connections of LANES units side by side: [N / LANES, K, LANES], the last units filled up with weights 0.
template <class T> struct Abreast {
    Int groups, K;
    std::vector<T> weights;
    std::vector<int32_t> columns;

    explicit Abreast(const Reservoir& of)
        : groups((of.N + LANES<T> - 1) / LANES<T>), K(of.K), weights(groups * K * LANES<T>), columns(weights.size()) {
        for (Int n = 0; n < of.N; n++)
            for (Int k = 0; k < K; k++) {
                const Int to = (n / LANES<T> * K + k) * LANES<T> + n % LANES<T>;
                weights[to] = ((const T*)of.weights)[n * K + k];
                columns[to] = int32_t(of.columns[n * K + k]);
            }
    }
};

template <class T, size_t... lane> inline Vector<T> gathered(const T* x, const int32_t* columns, std::index_sequence<lane...>) {
    return Vector<T>{x[columns[lane]]...};
}

template <class T> void drive_one(const Reservoir& of, const Drive& along) {
    const Abreast<T> connections(of);
    const Int width = connections.groups * LANES<T>, read = along.symbols ? 0 : of.I;
    std::vector<T> states(2 * width), by_input(read * width);       // W_in^T
    for (Int i = 0; i < read; i++)
        for (Int n = 0; n < of.N; n++) by_input[i * width + n] = ((const T*)of.input_weight)[n * of.I + i];
    T *before = states.data(), *after = before + width;
    memcpy(before, along.x, of.N * sizeof(T));
    for (Int t = 0; t < along.C; t++) {
        if (along.symbols)
            for (Int n = 0; n < of.N; n++) after[n] = of_symbol<T>(of, n, along.symbols[t]);
        else
            memcpy(after, of.bias, of.N * sizeof(T));
        const T *v = (const T*)along.inputs + t * read, *weights = connections.weights.data();
        const int32_t* columns = connections.columns.data();
        for (Int at = 0; at < width; at += LANES<T>) {
            Vector<T> sum = vector(after + at);
            for (Int i = 0; i < read; i++) sum += v[i] * vector(by_input.data() + i * width + at);
            for (Int k = 0; k < of.K; k++, weights += LANES<T>, columns += LANES<T>)
                sum += vector(weights) * gathered(before, columns, std::make_index_sequence<LANES<T>>());
            vector(after + at) = sum;
        }
        squash(of.N, before, T(of.leak), after);
        double* seen = along.seen + t * along.row;
        for (Int n = 0; n < of.N; n++) seen[n] = after[n];
        std::swap(before, after);
    }
    memcpy(along.x, before, of.N * sizeof(T));
}

// heard [V vectors] += sum over k of weights[k] before[columns[k]]
template <class T, int V> inline void listen(Int K, const T* weights, const Int* columns, const T* before, Int width, T* heard) {
    Vector<T> sums[V];
    for (int v = 0; v < V; v++) sums[v] = vector(heard + v * LANES<T>);
    for (Int k = 0; k < K; k++) {
        const T* from = before + columns[k] * width;
        for (int v = 0; v < V; v++) sums[v] += weights[k] * vector(from + v * LANES<T>);
    }
    for (int v = 0; v < V; v++) vector(heard + v * LANES<T>) = sums[v];
}

template <class T, int V = SIDE>
inline void listen(Int vectors, Int K, const T* weights, const Int* columns, const T* before, Int width, T* heard) {
    if constexpr (V > 1)
        if (vectors < V) return listen<T, V - 1>(vectors, K, weights, columns, before, width, heard);
    listen<T, V>(K, weights, columns, before, width, heard);
}

// The streams from `begin` to `end`, whose states [N, width] are filled up to whole vectors.
template <class T> void drive_side_by_side(const Reservoir& of, const Drive& along, Int begin, Int end) {
    const Int streams = end - begin, vectors = (streams + LANES<T> - 1) / LANES<T>, width = vectors * LANES<T>;
    std::vector<T> states(2 * of.N * width), inputs(along.symbols ? 0 : of.I * width);
    T *before = states.data(), *after = before + of.N * width, *x = (T*)along.x + begin;
    for (Int n = 0; n < of.N; n++)
        for (Int b = 0; b < streams; b++) before[n * width + b] = x[n * along.B + b];
    for (Int t = 0; t < along.C; t++) {
        const Int first_row = t * along.B + begin;
        if (!along.symbols)
            for (Int b = 0; b < streams; b++)
                for (Int i = 0; i < of.I; i++) inputs[i * width + b] = ((const T*)along.inputs)[(first_row + b) * of.I + i];
        for (Int first = 0; first < of.N; first += BLOCK) {
            const Int last = first + BLOCK < of.N ? first + BLOCK : of.N;
            for (Int n = first; n < last; n++) {
                T* heard = after + n * width;
                if (along.symbols)
                    for (Int b = 0; b < streams; b++) heard[b] = of_symbol<T>(of, n, along.symbols[first_row + b]);
                else
                    for (Int b = 0; b < width; b++) heard[b] = ((const T*)of.bias)[n];
                for (Int i = 0; !along.symbols && i < of.I; i++)
                    for (Int v = 0; v < width; v += LANES<T>)
                        vector(heard + v) += ((const T*)of.input_weight)[n * of.I + i] * vector(inputs.data() + i * width + v);
            }
            for (Int n = first; n < last; n++)
                for (Int v = 0; v < vectors; v += SIDE)
                    listen(vectors - v, of.K, (const T*)of.weights + n * of.K, of.columns + n * of.K, before + v * LANES<T>, width,
                           after + n * width + v * LANES<T>);
            squash((last - first) * width, before + first * width, T(of.leak), after + first * width);
            for (Int b = 0; b < streams; b++) {
                double* seen = along.seen + (first_row + b) * along.row;
                for (Int n = first; n < last; n++) seen[n] = after[n * width + b];
            }
        }
        std::swap(before, after);
    }
    for (Int n = 0; n < of.N; n++)
        for (Int b = 0; b < streams; b++) x[n * along.B + b] = before[n * width + b];
}

template <class T> void drive_all(const Reservoir& of, const Drive& along, Int threads) {
    if (along.B == 1) return drive_one<T>(of, along);
    const Int vectors = (along.B + LANES<T> - 1) / LANES<T>, parts = threads < vectors ? threads : vectors;
#pragma omp parallel for num_threads(parts) if (parts > 1)
    for (Int part = 0; part < parts; part++) {
        const Int begin = vectors * part / parts * LANES<T>, end = vectors * (part + 1) / parts * LANES<T>;
        drive_side_by_side<T>(of, along, begin, end < along.B ? end : along.B);
    }
}

// ---- Products ----------------------------------------------------------------------------------------------------------------------

// out [ROWS, PANEL] += left^T right for panels [depth, PANEL], of which `left` begins with the column of the first row.
inline void tile(Int depth, const double* left, const double* right, double* out, Int row) {
    Vector<double> sums[ROWS][VECTORS] = {};
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) __builtin_prefetch(out + r * row + v * LANES<double>, 1);
    for (Int k = 0; k < depth; k++) {
        Vector<double> line[VECTORS];
        for (int v = 0; v < VECTORS; v++) line[v] = vector(right + k * PANEL + v * LANES<double>);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < VECTORS; v++) sums[r][v] += left[k * PANEL + r] * line[v];
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) vector(out + r * row + v * LANES<double>) += sums[r][v];
}

// The rows of sums [M, M] of one panel, up to the diagonal.
void add_panel(Int M, Int depth, const double* packed, Int panel, double* sums) {
    const Int first = panel * PANEL, rows = M - first < PANEL ? M - first : PANEL;
    for (Int other = 0; other <= panel; other++)
        for (Int r = 0; r < rows; r += ROWS) {
            const double *left = packed + first * DEPTH + r, *right = packed + other * PANEL * DEPTH;
            double* out = sums + (first + r) * M + other * PANEL;
            const Int height = rows - r < ROWS ? rows - r : ROWS, width = M - other * PANEL < PANEL ? M - other * PANEL : PANEL;
            if (height == ROWS && width == PANEL) {
                tile(depth, left, right, out, M);
            } else {
                double whole[ROWS * PANEL] = {};
                tile(depth, left, right, whole, PANEL);
                for (Int i = 0; i < height; i++)
                    for (Int j = 0; j < width; j++) out[i * M + j] += whole[i * PANEL + j];
            }
        }
}

}  // namespace

extern "C" {

// `bytes` of a number of weights, biases, inputs and states.
void drive(Int bytes, const Reservoir* of, const Drive* along, Int threads) {
    (bytes == 4 ? drive_all<float> : drive_all<double>)(*of, *along, threads);
}

// sums [M, M] += rows^T rows, at least its lower triangle.
void add_products(Int M, Int R, const double* rows, double* sums, Int threads) {
    const Int panels = (M + PANEL - 1) / PANEL;
    const std::unique_ptr<double[]> packed(new double[panels * PANEL * DEPTH]);      // [panels, DEPTH, PANEL]
    for (Int begin = 0; begin < R; begin += DEPTH) {
        const Int depth = R - begin < DEPTH ? R - begin : DEPTH;
        for (Int k = 0; k < depth; k++)
            for (Int panel = 0; panel < panels; panel++) {
                const double* from = rows + (begin + k) * M + panel * PANEL;
                double* to = packed.get() + (panel * DEPTH + k) * PANEL;
                const Int width = M - panel * PANEL;
                if (width >= PANEL)
                    for (Int v = 0; v < PANEL; v += LANES<double>) vector(to + v) = vector(from + v);
                else
                    for (Int j = 0; j < PANEL; j++) to[j] = j < width ? from[j] : 0;
            }
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
        for (Int panel = panels - 1; panel >= 0; panel--) add_panel(M, depth, packed.get(), panel, sums);   // the longest first
    }
}

}
