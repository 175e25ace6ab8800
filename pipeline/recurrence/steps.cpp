// The steps of a recurrence: products with matrices that stay the same for all steps, and pointwise functions between them.
//
// A program is a line of work done once for each time step: products, and stages of instructions. A stage's instructions run one after the
// other on a strip of a row, whose intermediate results stay in the first-level cache; sequences are independent of each other, so threads
// share the batch and never wait for each other. Everything is called from pipeline/recurrence/tape.py, which writes the programs.
//
// Shapes: B batch, K columns and N rows of a matrix.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

using Int = int64_t;

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 12;        // of a vector; of a tile, whose sums fill the vector registers
#elif defined(__AVX2__)
constexpr int BYTES = 32, ROWS = 6;
#else
constexpr int BYTES = 16, ROWS = 4;
#endif
constexpr int VECTORS = 2;                  // side by side in a tile
constexpr Int STRIP = 256;                  // numbers that a stage takes at a time

template <class T> using Vector __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)) = T;
template <class T> constexpr Int LANES = BYTES / sizeof(T);
template <class T> constexpr Int PANEL = VECTORS * LANES<T>;

// ---- Products ----------------------------------------------------------------------------------------------------------------------

// result [R, N] = (added [R, N] or 0) + operand [R, K] panel, for `width` <= PANEL columns; panel [K, PANEL].
// With few rows U columns of the operand are taken at once, so that sums need not wait for each other.
template <class T, int R, int U>
inline void tile(const T* operand, Int operand_row, const T* panel, Int K, const T* added, Int added_row, T* result, Int result_row, Int width) {
    Vector<T> sums[U][R][VECTORS] = {};
    if (added)
        for (int r = 0; r < R; r++) __builtin_prefetch(added + r * added_row);
    Int k = 0;
    for (; k + U <= K; k += U)
        for (int u = 0; u < U; u++) {
            Vector<T> column[VECTORS];
            for (int v = 0; v < VECTORS; v++) column[v] = *(const Vector<T>*)(panel + (k + u) * PANEL<T> + v * LANES<T>);
            for (int r = 0; r < R; r++)
                for (int v = 0; v < VECTORS; v++) sums[u][r][v] += operand[r * operand_row + k + u] * column[v];
        }
    for (; k < K; k++)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++)
                sums[0][r][v] += operand[r * operand_row + k] * *(const Vector<T>*)(panel + k * PANEL<T> + v * LANES<T>);
    for (int u = 1; u < U; u++)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++) sums[0][r][v] += sums[u][r][v];
    for (int r = 0; r < R; r++) {
        T* out = result + r * result_row;
        const T* in = added ? added + r * added_row : nullptr;
        if (width == PANEL<T>) {
            for (int v = 0; v < VECTORS; v++) {
                if (in) sums[0][r][v] += *(const Vector<T>*)(in + v * LANES<T>);
                *(Vector<T>*)(out + v * LANES<T>) = sums[0][r][v];
            }
        } else {
            T row[PANEL<T>];
            memcpy(row, sums[0][r], sizeof(row));
            for (Int j = 0; j < width; j++) out[j] = row[j] + (in ? in[j] : T(0));
        }
    }
}

template <class T, int R>
inline void tiles(int rows, const T* operand, Int operand_row, const T* panel, Int K, const T* added, Int added_row, T* result, Int result_row,
                  Int width) {
    if constexpr (R > 0) {
        constexpr int U = R == 1 ? 8 : R == 2 ? 3 : R == 3 ? 2 : 1;
        if (rows == R) return tile<T, R, U>(operand, operand_row, panel, K, added, added_row, result, result_row, width);
        tiles<T, R - 1>(rows, operand, operand_row, panel, K, added, added_row, result, result_row, width);
    }
}

// result [B, N] = (added [B, N] or 0) + operand [B, K] matrix^T, with the matrix packed.
template <class T>
void product(const T* operand, Int operand_row, const T* packed, Int B, Int N, Int K, const T* added, Int added_row, T* result, Int result_row) {
    const Int parts = (B + ROWS - 1) / ROWS;        // of about as many rows each
    for (Int n = 0; n < N; n += PANEL<T>)
        for (Int part = 0; part < parts; part++) {
            Int b = B * part / parts, rows = B * (part + 1) / parts - b;
            tiles<T, ROWS>(int(rows), operand + b * operand_row, operand_row, packed + n * K, K, added ? added + b * added_row + n : nullptr,
                           added_row, result + b * result_row + n, result_row, N - n < PANEL<T> ? N - n : PANEL<T>);
        }
}

// matrix [N, K], its elements `row` and `column` apart -> packed [N / PANEL, K, PANEL], the last panel filled up with zeros.
template <class T>
void pack(const T* matrix, Int row, Int column, Int N, Int K, T* packed, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Int n = 0; n < N; n += PANEL<T>) {
        const Int width = N - n < PANEL<T> ? N - n : PANEL<T>;
        for (Int k = 0; k < K; k++) {
            const T* from = matrix + n * row + k * column;
            T* to = packed + n * K + k * PANEL<T>;
            if (width == PANEL<T>)
                for (Int j = 0; j < PANEL<T>; j++) to[j] = from[j * row];
            else
                for (Int j = 0; j < PANEL<T>; j++) to[j] = j < width ? from[j * row] : T(0);
        }
    }
}

// ---- Pointwise functions -----------------------------------------------------------------------------------------------------------

// For a <= 0: e^a = power (1 + series) and e^a - 1 = power series + (power - 1), each to rounding however small it is, where
// a = n log 2 + r, |r| <= log(2) / 2, power = 2^n and series = e^r - 1 to r^7 (the next term is below 5e-9). NaN stays NaN.
struct Exponential { float power, series; };

inline Exponential exponential(float a) {
    a = a < -87.0f ? -87.0f : a;
    const float shift = 12582912.0f;        // 1.5 * 2^23: adding it rounds to whole numbers
    const float n = a * 1.44269504088896341f + shift - shift;
    const float r = a - n * 0.693145751953125f - n * 1.42860682030941723e-6f;     // log 2 in two parts
    float series = 1.0f / 5040;
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return {power, series * r * r + r};
}

inline float sigmoid(float a) {         // with e = e^-|a|: 1 / (1 + e), or e / (1 + e) for a < 0
    const Exponential of = exponential(a < 0 ? a : -a);
    const float e = of.power * of.series + of.power;
    return (a < 0 ? e : 1.0f) / (1 + e);
}
inline double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

inline float hyperbolic_tangent(float a) {      // with e = e^-2|a| - 1: -e / (2 + e), and the sign of a
    const Exponential of = exponential(a < 0 ? 2 * a : -2 * a);
    const float e = of.power * of.series + (of.power - 1), t = -e / (2 + e);
    return a < 0 ? -t : t;
}
inline double hyperbolic_tangent(double a) { return std::tanh(a); }

enum { SCALE, ADD, MULTIPLY, ADD_PRODUCT, INTERPOLATE, SIGMOID, TANH, RELU, SIGMOID_GRADIENT, TANH_GRADIENT, RELU_GRADIENT };

template <class T>
void instruct(Int code, T s, T* out, const T* a, const T* b, const T* c, Int count) {
#define EACH(value) _Pragma("GCC ivdep") for (Int j = 0; j < count; j++) out[j] = value; break;
    switch (code) {
        case SCALE: EACH(s * a[j])
        case ADD: EACH(a[j] + s * b[j])
        case MULTIPLY: EACH(a[j] * b[j])
        case ADD_PRODUCT: EACH(a[j] + s * b[j] * c[j])
        case INTERPOLATE: EACH(a[j] + c[j] * (b[j] - a[j]))
        case SIGMOID: EACH(sigmoid(a[j]))
        case TANH: EACH(hyperbolic_tangent(a[j]))
        case RELU: EACH(a[j] < 0 ? T(0) : a[j])                             // NaN stays
        case SIGMOID_GRADIENT: EACH(a[j] * (1 - b[j]) * b[j])               // of the result's gradient and the result
        case TANH_GRADIENT: EACH(a[j] * (1 - b[j] * b[j]))
        case RELU_GRADIENT: EACH(b[j] <= 0 ? T(0) : a[j])
    }
#undef EACH
}

// ---- Programs: arrays of 64-bit words, as pipeline/recurrence/tape.py writes them ------------------------------------------------

struct Place { Int address, step, row, shift, mask; };     // bytes; element [t, b, 0] is at address + ((t + shift) & mask) step + b row
// kind 0: a product, of a matrix that is the same for all, or, where `choice` is a place, the one of `count` that a row's number there names (of
// none, zero, if there are not so many); 1: a stage of `count` instructions from `first` on, `width` wide
struct Work { Int kind, operand, added, result, packed, N, K, choice, first, count, width; };
struct Instruction { Int code, out, a, b, c; double scalar; };     // places, or ~register

template <class T>
void multiply(const Work& work, const Place* places, char* const* now, Int B) {
    const Int panels = (work.N + PANEL<T> - 1) / PANEL<T>, number = sizeof(T);
    const bool chosen = work.choice >= 0;
    for (Int b = 0, rows = chosen ? 1 : B; b < B; b += rows) {
        auto at = [&](Int place) { return place < 0 ? nullptr : now[place] + b * places[place].row; };
        const Int choice = chosen ? *(const Int*)at(work.choice) : 0;
        product((const T*)at(work.operand), places[work.operand].row / number, (const T*)now[work.packed] + choice * panels * PANEL<T> * work.K,
                rows, work.N, choice < work.count ? work.K : 0, (const T*)at(work.added), work.added < 0 ? 0 : places[work.added].row / number,
                (T*)at(work.result), places[work.result].row / number);
    }
}

template <class T>
void stage(const Work& work, const Place* places, char* const* now, const Instruction* instructions, T* strips, Int B) {
    for (Int b = 0; b < B; b++)
        for (Int column = 0; column < work.width; column += STRIP) {
            const Int count = work.width - column < STRIP ? work.width - column : STRIP;
            auto at = [&](Int index) { return index < 0 ? strips + ~index * STRIP : (T*)(now[index] + b * places[index].row) + column; };
            for (const Instruction* one = instructions + work.first; one < instructions + work.first + work.count; one++)
                instruct<T>(one->code, T(one->scalar), at(one->out), at(one->a), at(one->b), at(one->c), count);
        }
}

template <class T>
void run(const Place* places, Int place_count, const Work* works, Int work_count, const Instruction* instructions, Int registers,
         Int start, Int steps, Int stride, Int begin, Int end) {
    T* strips = new T[registers * STRIP];
    char** now = new char*[place_count];        // where row `begin` of each place is at this step
    for (Int i = 0, t = start; i < steps; i++, t += stride) {
        for (Int p = 0; p < place_count; p++)
            now[p] = (char*)places[p].address + ((t + places[p].shift) & places[p].mask) * places[p].step + begin * places[p].row;
        for (const Work* work = works; work < works + work_count; work++)
            if (work->kind == 0) multiply<T>(*work, places, now, end - begin);
            else stage<T>(*work, places, now, instructions, strips, end - begin);
    }
    delete[] now;
    delete[] strips;
}

}  // namespace

extern "C" {

// Numbers side by side in a packed matrix.
Int panel(Int bytes) { return BYTES / bytes * VECTORS; }

void pack_matrix(Int bytes, const void* matrix, Int row, Int column, Int N, Int K, void* packed, Int threads) {
    if (bytes == 4) pack((const float*)matrix, row, column, N, K, (float*)packed, int(threads));
    else pack((const double*)matrix, row, column, N, K, (double*)packed, int(threads));
}

// Does the works of steps start, start + stride, ..., for a batch shared by `threads`.
void run_steps(Int bytes, const void* places, Int place_count, const void* works, Int work_count, const void* instructions, Int registers, Int start,
               Int steps, Int stride, Int batch, Int threads) {
    if (threads > batch) threads = batch;
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (Int thread = 0; thread < threads; thread++) {
        const Int begin = batch * thread / threads, end = batch * (thread + 1) / threads;
        (bytes == 4 ? run<float> : run<double>)((const Place*)places, place_count, (const Work*)works, work_count,
                                                (const Instruction*)instructions, registers, start, steps, stride, begin, end);
    }
}

}
