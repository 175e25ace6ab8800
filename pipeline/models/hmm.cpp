// Expected numbers of starts, transitions and emissions of a hidden Markov model that emits symbols, over a window: forward and backward.
//
// Equations, symbols and sources are those of pipeline/models/hmm.py; pipeline/models/hmm_compiled.py calls this. As many streams as a vector has
// lanes go side by side, one in each:
//   a_t(j) = sum_i a_{t-1}(i) A(i, j) b_t(j) / s_{t-1},  s_t = sum_j a_t(j) = p(x_t | x_0 .. x_{t-1}) over the largest p(x_t | z)
//   c_{t-1}(i) = sum_j A(i, j) w_t(j),  w_t(j) = b_t(j) c_t(j) / s_{t-1},  c_t = 1 / s_t for the last t
//   p(z_t = j | all x) = a_t(j) c_t(j),  p(z_{t-1} = i, z_t = j | all x) = a_{t-1}(i) A(i, j) w_t(j)
//
// Shapes: S observations of a stream, B streams, N states, V symbols, L lanes, W >= N whole vectors of states.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace {

using Int = int64_t;

#if defined(__AVX512F__)
constexpr int BYTES = 64, SUMS = 16, HIGH = 4, WIDE = 6;    // of a vector; sums of a product's block; rows and columns of a block of pairs
#elif defined(__AVX2__)
constexpr int BYTES = 32, SUMS = 12, HIGH = 3, WIDE = 4;
#else
constexpr int BYTES = 16, SUMS = 12, HIGH = 3, WIDE = 4;
#endif
constexpr Int STRETCH = 64, CACHE = 1 << 17;    // steps whose pairs are added up at once: at most so many, and a_t of so many bytes
constexpr Int KEPT = 1 << 26;                   // bytes of a_t that are kept; where there are more, those of a stretch are found again
constexpr Int FACTORS = 8;                      // probabilities that are multiplied before a logarithm is taken; none is below 1e-15

template <class T> using Vector __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)) = T;
template <class T> constexpr Int LANES = BYTES / sizeof(T);

template <class T> inline Vector<T>& vector(T* at) { return *(Vector<T>*)at; }
template <class T> inline const Vector<T>& vector(const T* at) { return *(const Vector<T>*)at; }

// Numbers to work on, on the borders of vectors.
template <class T> class Numbers {
    struct Free {
        void operator()(void* at) const { std::free(at); }
    };
    std::unique_ptr<T, Free> held;

public:
    explicit Numbers(Int count) : held((T*)std::aligned_alloc(BYTES, (count * sizeof(T) + BYTES - 1) / BYTES * BYTES)) {}
    operator T*() const { return held.get(); }
};

// ---- Vectors -----------------------------------------------------------------------------------------------------------------------

template <class T> struct Mask;
template <> struct Mask<double> { using Number = int64_t; };
template <> struct Mask<float> { using Number = int32_t; };

template <class T, size_t... lane> inline void interleave(Vector<T> a, Vector<T> b, Vector<T>& low, Vector<T>& high, std::index_sequence<lane...>) {
    using Number = typename Mask<T>::Number;
    constexpr Int L = LANES<T>;
    low = __builtin_shuffle(a, b, Vector<Number>{Number(lane % 2 * L + lane / 2)...});
    high = __builtin_shuffle(a, b, Vector<Number>{Number(lane % 2 * L + (L + lane) / 2)...});
}

template <class T> inline void transpose(Vector<T>* rows) {
    constexpr Int L = LANES<T>;
    for (Int stage = 1; stage < L; stage *= 2) {
        Vector<T> turned[L];
        for (Int i = 0; i < L / 2; i++)
            interleave<T>(rows[i], rows[i + L / 2], turned[2 * i], turned[2 * i + 1], std::make_index_sequence<L>());
        for (Int i = 0; i < L; i++) rows[i] = turned[i];
    }
}

template <class T, size_t... lane> inline Vector<T> rotated(Vector<T> a, Int by, std::index_sequence<lane...>) {
    using Number = typename Mask<T>::Number;
    return __builtin_shuffle(a, Vector<Number>{Number((lane + by) % LANES<T>)...});
}

template <class T> inline T sum_of(Vector<T> a) {
    for (Int by = LANES<T> / 2; by; by /= 2) a += rotated<T>(a, by, std::make_index_sequence<LANES<T>>());
    return a[0];
}

inline void add(Vector<double> a, double* to) { vector(to) += a; }

inline void add(Vector<float> a, double* to) {
    float numbers[LANES<float>];
    vector(numbers) = a;
    for (Int i = 0; i < LANES<float>; i++) to[i] += numbers[i];
}

// ---- Products ----------------------------------------------------------------------------------------------------------------------

// out(j) = sum_i in(i) matrix(i, j) for `J` columns; `finish` is told each.
template <class T, int J, class Finish>
inline void columns(Int N, const T* matrix, const T* in, Int first, Finish finish) {
    Vector<T> sums[J] = {};
    for (Int i = 0; i < N; i++) {
        const Vector<T> a = vector(in + i * LANES<T>);
#pragma GCC unroll 16
        for (int j = 0; j < J; j++) sums[j] += matrix[i * N + first + j] * a;
    }
#pragma GCC unroll 16
    for (int j = 0; j < J; j++) finish(first + j, sums[j]);
}

template <class T, int J, class Finish>
inline void columns_of(Int count, Int N, const T* matrix, const T* in, Int first, Finish finish) {
    if constexpr (J > 1)
        if (count < J) return columns_of<T, J - 1>(count, N, matrix, in, first, finish);
    columns<T, J>(N, matrix, in, first, finish);
}

template <class T, class Finish> inline void product(Int N, const T* matrix, const T* in, Finish finish) {
    const Int parts = (N + SUMS - 1) / SUMS;        // of about as many columns each
    for (Int part = 0; part < parts; part++) {
        const Int first = N * part / parts;
        columns_of<T, SUMS>(N * (part + 1) / parts - first, N, matrix, in, first, finish);
    }
}

// moved(i, j) += sum over steps and lanes of a(i) w(j), for I rows and J columns.
template <class T, int I, int J>
inline void pairs(Int steps, Int N, const T* a, const T* w, double* moved) {
    constexpr Int L = LANES<T>;
    Vector<T> sums[I][J] = {};
    for (Int t = 0; t < steps; t++, a += N * L, w += N * L) {
        Vector<T> line[J];
        for (int j = 0; j < J; j++) line[j] = vector(w + j * L);
#pragma GCC unroll 8
        for (int i = 0; i < I; i++)
            for (int j = 0; j < J; j++) sums[i][j] += vector(a + i * L) * line[j];
    }
    for (int i = 0; i < I; i++)
        for (int j = 0; j < J; j++) moved[i * N + j] += sum_of<T>(sums[i][j]);
}

template <class T, int I, int J>
inline void pairs_of(Int rows, Int columns, Int steps, Int N, const T* a, const T* w, double* moved) {
    if constexpr (I > 1)
        if (rows < I) return pairs_of<T, I - 1, J>(rows, columns, steps, N, a, w, moved);
    if constexpr (J > 1)
        if (columns < J) return pairs_of<T, I, J - 1>(rows, columns, steps, N, a, w, moved);
    pairs<T, I, J>(steps, N, a, w, moved);
}

template <class T> void add_pairs(Int steps, Int N, const T* a, const T* w, double* moved) {
    const Int down = (N + HIGH - 1) / HIGH, across = (N + WIDE - 1) / WIDE;
    for (Int p = 0; p < down; p++)
        for (Int q = 0; q < across; q++) {
            const Int i = N * p / down, j = N * q / across;
            pairs_of<T, HIGH, WIDE>(N * (p + 1) / down - i, N * (q + 1) / across - j, steps, N, a + i * LANES<T>, w + j * LANES<T>,
                                    moved + i * N + j);
        }
}

// ---- A window ----------------------------------------------------------------------------------------------------------------------

struct Model {
    Int N, W, V;
    const void* A;                  // [N, N]
    const void* A_t;                // [N, N], its transpose
    const void* likelihoods;        // [V + 1, W], of each symbol b(j), p(x | z = j) over its largest; 1 for symbol V, a missing one
    const double* largest;          // [V + 1]
};

struct Window {
    Int S, B, carried;              // carried: z_0's emission is counted elsewhere
    const Int* x;                   // [S, B]
    const bool *counted, *scored;   // [S, B], whether an observation is the last counted one or before it; [S, B]; both null where all are
    const double* before;           // [B, N], p(z_0)
};

// What is found, added to what is there but for `after`.
struct Found {
    double *started, *moved, *emitted;      // [N], [N, N] without the factor A(i, j), [V + 1, W]
    double* log_p;                          // of what is scored of x_1 .. x_{S-1}
    double* after;                          // [B, N], p(z_{S-2} | x_0 .. x_{S-2})
};

template <class T> class Group {
    static constexpr Int L = LANES<T>;
    const Model& model;
    const Window& window;
    const Found& found;
    const Int N, W, S, size, steps, stretches;      // size: of a_t; steps of a stretch
    const bool whole;                               // all a_t are kept
    Int first = 0, streams = 0;
    Numbers<T> a, w, c, b, sums, last, counted;

    const Int* symbols(Int t) const { return window.x + t * window.B + first; }
    T* alpha(Int t) const { return a + (whole ? t : t % steps) * size; }
    T scale(Int t, Int lane) const { return sums[t * L + lane]; }

    // b(j) of one step.
    void look_up(Int t) {
        const Int* x = symbols(t);
        const T* rows[L];
        for (Int lane = 0; lane < L; lane++) rows[lane] = (const T*)model.likelihoods + (lane < streams ? x[lane] : model.V) * W;
        for (Int j = 0; j < N; j += L) {
            Vector<T> block[L];
            for (Int lane = 0; lane < L; lane++) block[lane] = vector(rows[lane] + j);
            transpose<T>(block);
            for (Int lane = 0; lane < L; lane++) vector(b + (j + lane) * L) = block[lane];
        }
    }

    void forward(Int t, const T* previous) {
        T* now = alpha(t);
        look_up(t);
        Vector<T> sum = {};
        if (t == 0) {
            for (Int j = 0; j < N; j++) {
                for (Int lane = 0; lane < L; lane++)
                    now[j * L + lane] = lane < streams ? T(window.before[(first + lane) * N + j]) : T(1) / T(N);
                sum += vector(now + j * L) *= vector(b + j * L);
            }
        } else {
            const Vector<T> over = 1 / vector(sums + (t - 1) * L);
            product(N, (const T*)model.A, previous, [&](Int j, Vector<T> reached) {
                sum += vector(now + j * L) = reached * (vector(b + j * L) * over);
            });
        }
        vector(sums + t * L) = sum;
    }

    // The numbers a_t of a stretch; the last ones of each stretch are kept in any case.
    void forward_stretch(Int stretch) {
        const Int begin = stretch * steps, end = begin + steps < S ? begin + steps : S;
        for (Int t = begin; t < end; t++) forward(t, t > begin ? alpha(t - 1) : last + (stretch - 1) * size);
        for (Int i = 0; i < size; i += L) vector(last + stretch * size + i) = vector(alpha(end - 1) + i);
    }

    void add_emissions(Int t, const T* posterior) {
        const Int* x = symbols(t);
        for (Int j = 0; j < N; j += L) {
            Vector<T> block[L];
            for (Int lane = 0; lane < L; lane++) block[lane] = vector(posterior + (j + lane) * L);
            transpose<T>(block);
            for (Int lane = 0; lane < streams; lane++) {
                add(block[lane], found.emitted + x[lane] * W + j);
            }
        }
    }

    // From the last stretch to the first: c holds c_t on entry and on return c_{t-1} of its first step.
    template <bool ALL> void backward_stretch(Int stretch, T* posterior) {
        const Int begin = stretch * steps, end = begin + steps < S ? begin + steps : S;
        for (Int t = end - 1; t >= begin; t--) {
            const T* now = alpha(t);
            const Vector<T> here = ALL ? Vector<T>{} + 1 : vector(counted + t * L), beyond = ALL ? here : vector(counted + (t + 1) * L);
            if (!ALL || t + 1 == S) {
                const Vector<T> over = (ALL ? here : 1 - beyond) / vector(sums + t * L);
                for (Int j = 0; j < N; j++) vector(c + j * L) += over;
            }
            Vector<T> total = {};
            for (Int j = 0; j < N; j++) {
                Vector<T> one = vector(now + j * L) * vector(c + j * L);
                if (!ALL) one *= here;
                total += vector(posterior + j * L) = one;
            }
            if (t == 0)
                for (Int j = 0; j < N; j++) found.started[j] += sum_of<T>(vector(posterior + j * L));
            if (t > 0 || !window.carried) add_emissions(t, posterior);
            if (t == 0) break;
            look_up(t);
            Vector<T> factor = 1 / vector(sums + (t - 1) * L);
            if (!ALL) factor *= here;
            if (t == begin) factor /= ALL ? total : total + (1 - here);     // 1 but for rounding, which would add up
            T* weighted = w + (t - begin) * size;
            for (Int j = 0; j < N; j++) vector(weighted + j * L) = vector(b + j * L) * vector(c + j * L) * factor;
            product(N, (const T*)model.A_t, weighted, [&](Int i, Vector<T> sum) { vector(c + i * L) = sum; });
        }
        if (stretch > 0) add_pairs(1, N, last + (stretch - 1) * size, (const T*)w, found.moved);
        add_pairs(end - begin - 1, N, (const T*)alpha(begin), (const T*)w + size, found.moved);
    }

    void add_log_p() {
        for (Int lane = 0; lane < streams; lane++) {
            double product = 1;
            for (Int t = 1; t < S; t++) {
                const Int at = t * window.B + first + lane;
                if (!window.scored || window.scored[at]) product *= double(scale(t, lane)) * model.largest[window.x[at]];
                if (t % FACTORS == 0 || t + 1 == S) {
                    *found.log_p += std::log(product);
                    product = 1;
                }
            }
        }
    }

public:
    Group(const Model& model, const Window& window, const Found& found)
        : model(model), window(window), found(found), N(model.N), W(model.W), S(window.S), size(N * L),
          steps(std::max<Int>(2, std::min<Int>(STRETCH, CACHE / (size * Int(sizeof(T)))))), stretches((S + steps - 1) / steps),
          whole(S * size * Int(sizeof(T)) <= KEPT), a((whole ? S : steps) * size), w(steps * size), c(size), b(W * L), sums(S * L),
          last(stretches * size), counted((S + 1) * L) {}

    void run(Int begin, Int end) {
        first = begin, streams = end - begin;
        for (Int stretch = 0; stretch < stretches; stretch++) {
            forward_stretch(stretch);
            if (stretch * steps <= S - 2 && S - 2 < (stretch + 1) * steps)
                for (Int j = 0; j < N; j++)
                    for (Int lane = 0; lane < streams; lane++)
                        found.after[(first + lane) * N + j] = double(alpha(S - 2)[j * L + lane]) / double(scale(S - 2, lane));
        }
        add_log_p();
        const bool all = streams == L && !window.counted;
        if (!all)
            for (Int t = 0; t <= S; t++)
                for (Int lane = 0; lane < L; lane++)
                    counted[t * L + lane] = t < S && lane < streams && (!window.counted || window.counted[t * window.B + first + lane]);
        Numbers<T> posterior(W * L);
        for (Int i = 0; i < W * L; i++) posterior[i] = 0;
        for (Int i = 0; i < size; i++) c[i] = 0;
        for (Int stretch = stretches - 1; stretch >= 0; stretch--) {
            if (!whole && stretch + 1 < stretches) forward_stretch(stretch);
            all ? backward_stretch<true>(stretch, posterior) : backward_stretch<false>(stretch, posterior);
        }
    }
};

// The streams from `begin` to `end`.
template <class T> void count(const Model& model, const Window& window, const Found& found, Int begin, Int end) {
    Group<T> group(model, window, found);
    for (Int at = begin; at < end; at += LANES<T>) group.run(at, std::min(at + LANES<T>, end));
}

template <class T> void count_all(const Model& model, const Window& window, const Found& found, Int threads) {
    const Int groups = (window.B + LANES<T> - 1) / LANES<T>, parts = std::max<Int>(1, std::min(threads, groups));
    const Int N = model.N, sizes[] = {N, N * N, (model.V + 1) * model.W, 1};
    double* sums[] = {found.started, found.moved, found.emitted, found.log_p};
    std::vector<std::vector<double>> own[4];        // of parts other than the first
    for (int i = 0; i < 4; i++) own[i].assign(parts - 1, std::vector<double>(sizes[i]));
#pragma omp parallel for num_threads(parts) if (parts > 1)
    for (Int part = 0; part < parts; part++) {
        Found its = found;
        if (part > 0)
            its.started = own[0][part - 1].data(), its.moved = own[1][part - 1].data(), its.emitted = own[2][part - 1].data(),
            its.log_p = own[3][part - 1].data();
        count<T>(model, window, its, groups * part / parts * LANES<T>, std::min(groups * (part + 1) / parts * LANES<T>, window.B));
    }
    for (int i = 0; i < 4; i++)
        for (const auto& part : own[i])
            for (Int k = 0; k < sizes[i]; k++) sums[i][k] += part[k];
}

}  // namespace

extern "C" {

// Numbers of a vector, of which W is a multiple.
Int lanes(Int bytes) { return BYTES / bytes; }

// `bytes` of a number of A, its transpose and the likelihoods.
void count_expected(Int bytes, const Model* model, const Window* window, const Found* found, Int threads) {
    (bytes == 4 ? count_all<float> : count_all<double>)(*model, *window, *found, threads);
}

}
