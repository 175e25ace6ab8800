// The steps of a Kalman filter and of a Rauch-Tung-Striebel smoother, one after the other, where each step has its own covariance.
//
// Equations, symbols and sources are those of pipeline/models/kalman.py; pipeline/models/kalman_compiled.py calls this. A system of equations
// is solved by a Cholesky factor without square roots; a pivot that is none ends the call, and NumPy takes the pseudo-inverse.
//
// Shapes: T time, B streams, D observed, N states, b = 1 where the streams share their covariances, else B. Matrices that are worked on have
// rows filled up to whole vectors; what stands there never reaches a number that counts. K', J' and the like are transposes.

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

using Int = int64_t;

#if defined(__AVX512F__)
constexpr int LANES = 8, ROWS = 6;          // numbers of a vector; rows of a tile, whose sums fill the vector registers
#elif defined(__AVX2__)
constexpr int LANES = 4, ROWS = 4;
#else
constexpr int LANES = 2, ROWS = 4;
#endif
constexpr int VECTORS = 3;                  // side by side in a tile
constexpr int AHEAD = 3;                    // steps for which memory is asked for

using Vector __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias)) = double;

inline Vector& vector(double* at) { return *(Vector*)at; }
inline const Vector& vector(const double* at) { return *(const Vector*)at; }
inline Int filled(Int width) { return (width + LANES - 1) / LANES * LANES; }

// Numbers `row` and `column` apart; column is 1 but in the transpose, which can be the left factor of a product alone.
struct Matrix {
    double* at;
    Int row, column = 1;
    Matrix transposed() const { return {at, column, row}; }
};

// Matrices to work on, zero at first.
class Workplace {
    std::vector<std::vector<double>> held;

public:
    Matrix matrix(Int rows, Int width) {
        held.emplace_back(rows * filled(width) + LANES);
        const auto address = reinterpret_cast<uintptr_t>(held.back().data()) / sizeof(double);
        return {held.back().data() + (LANES - address % LANES) % LANES, filled(width)};
    }
};

// ---- Products ----------------------------------------------------------------------------------------------------------------------

// out [R, V vectors] = (added or 0) + left [R, K] right [K, V vectors]
template <int R, int V>
void tile(Int K, const double* left, Int left_row, Int left_column, const double* right, Int right_row, const double* added, Int added_row,
          double* out, Int out_row) {
    Vector sums[R][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sums[r][v] = added ? vector(added + r * added_row + v * LANES) : Vector{};
    for (Int k = 0; k < K; k++) {
        Vector line[V];
        for (int v = 0; v < V; v++) line[v] = vector(right + k * right_row + v * LANES);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sums[r][v] += left[r * left_row + k * left_column] * line[v];
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) vector(out + r * out_row + v * LANES) = sums[r][v];
}

template <int R, int V, class... Rest>
inline void tiles(Int rows, Int vectors, Rest... rest) {
    if constexpr (R > 1)
        if (rows < R) return tiles<R - 1, V>(rows, vectors, rest...);
    if constexpr (V > 1)
        if (vectors < V) return tiles<R, V - 1>(rows, vectors, rest...);
    tile<R, V>(rest...);
}

// out [rows, width] = (added or 0) + left [rows, K] right [K, width]; of a symmetric one, the blocks on the diagonal and above will do.
// `out` may be `added`.
enum Part { WHOLE, UPPER };

void product(Int rows, Int K, Int width, Matrix left, Matrix right, Matrix added, Matrix out, Part wanted = WHOLE) {
    const Int parts = (rows + ROWS - 1) / ROWS, end = filled(width);        // of about as many rows each
    for (Int part = 0; part < parts; part++) {
        const Int first = rows * part / parts, count = rows * (part + 1) / parts - first;
        for (Int at = wanted == UPPER ? first / LANES * LANES : 0; at < end; at += VECTORS * LANES)
            tiles<ROWS, VECTORS>(count, (end - at) / LANES, K, left.at + first * left.row, left.row, left.column, right.at + at, right.row,
                                 added.at ? added.at + first * added.row + at : nullptr, added.row, out.at + first * out.row + at, out.row);
    }
}

void product(Int rows, Int K, Int width, Matrix left, Matrix right, Matrix out, Part wanted = WHOLE) {
    product(rows, K, width, left, right, {nullptr, 0}, out, wanted);
}

// Copies what is above the diagonal to below it.
void mirror(Int n, Matrix P) {
    for (Int i = 1; i < n; i++)
        for (Int j = 0; j < i; j++) P.at[i * P.row + j] = P.at[j * P.row + i];
}

// ---- Solving -----------------------------------------------------------------------------------------------------------------------

// row -= sum over k < count of factors[k] rows[k], V vectors
template <int V>
inline void combine(Int count, const double* factors, Int factor_step, const double* rows, Int step, double* row) {
    Vector sums[V];
    for (int v = 0; v < V; v++) sums[v] = vector(row + v * LANES);
    for (Int k = 0; k < count; k++)
        for (int v = 0; v < V; v++) sums[v] -= factors[k * factor_step] * vector(rows + k * step + v * LANES);
    for (int v = 0; v < V; v++) vector(row + v * LANES) = sums[v];
}

template <int V = 6>
inline void combine(Int vectors, Int count, const double* factors, Int factor_step, const double* rows, Int step, double* row) {
    if constexpr (V > 1)
        if (vectors < V) return combine<V - 1>(vectors, count, factors, factor_step, rows, step, row);
    combine<V>(count, factors, factor_step, rows, step, row);
    if (vectors > V) combine<6>(vectors - V, count, factors, factor_step, rows + V * LANES, step, row + V * LANES);
}

// [S | B] -> [V | X], S [n, n] = V' diag(1 / inverses) V, V upper triangular, S X = B [n, width]; false where S is not positive definite to
// rounding. B begins at column filled(n). Of S, the diagonal and what is above it is read.
bool solve(Int n, Int width, Matrix both, double* inverses, double* factors) {
    const Int begin = filled(n), end = begin + filled(width);
    for (Int i = 0; i < n; i++) {
        double* row = both.at + i * both.row;
        const double diagonal = row[i];
        for (Int k = 0; k < i; k++) factors[k] = both.at[k * both.row + i] * inverses[k];
        const Int first = i / LANES * LANES;
        combine((end - first) / LANES, i, factors, 1, both.at + first, both.row, row + first);
        if (!(row[i] > double(n) * DBL_EPSILON * diagonal)) return false;
        inverses[i] = 1 / row[i];
    }
    for (Int i = n - 1; i >= 0; i--) {
        double* row = both.at + i * both.row;
        // The row solved last comes last, so that the others need not wait for it.
        combine((end - begin) / LANES, n - 1 - i, row + n - 1, -1, both.at + (n - 1) * both.row + begin, -both.row, row + begin);
        for (Int at = begin; at < end; at += LANES) vector(row + at) *= inverses[i];
    }
    return true;
}

// ---- Between arrays and matrices ---------------------------------------------------------------------------------------------------

// Asks for numbers of which the processor does not foresee that they are next: time runs backward, rows do not.
template <int WRITTEN>
inline void prefetch(const double* from, Int count) {
    for (Int at = 0; at < count; at += 8) __builtin_prefetch(from + at, WRITTEN);
}

void read(Int rows, Int width, const double* from, Matrix to) {
    for (Int r = 0; r < rows; r++) {
        const double* row = from + r * width;
        Int at = 0;
        for (; at < width && r * width + at + LANES <= rows * width; at += LANES) vector(to.at + r * to.row + at) = vector(row + at);
        for (; at < width; at++) to.at[r * to.row + at] = row[at];
    }
}

// Rows are written from the first to the last, each over what the vectors of the one before had too many.
void write(Int rows, Int width, Matrix from, double* to) {
    for (Int r = 0; r < rows; r++) {
        double* row = to + r * width;
        Int at = 0;
        for (; at < width && r * width + at + LANES <= rows * width; at += LANES) vector(row + at) = vector(from.at + r * from.row + at);
        for (; at < width; at++) row[at] = from.at[r * from.row + at];
    }
}

// scale times an array [rows, width].
Matrix copied(Workplace& place, Int rows, Int width, const double* from, double scale = 1) {
    const Matrix to = place.matrix(rows, width);
    for (Int r = 0; r < rows; r++)
        for (Int c = 0; c < width; c++) to.at[r * to.row + c] = scale * from[r * width + c];
    return to;
}

// scale times the transpose of an array [rows, width].
Matrix turned(Workplace& place, Int rows, Int width, const double* from, double scale = 1) {
    const Matrix to = place.matrix(width, rows);
    for (Int r = 0; r < rows; r++)
        for (Int c = 0; c < width; c++) to.at[c * to.row + r] = scale * from[r * width + c];
    return to;
}

Matrix identity(Workplace& place, Int n) {
    const Matrix to = place.matrix(n, n);
    for (Int i = 0; i < n; i++) to.at[i * to.row + i] = 1;
    return to;
}

// ---- Passes ------------------------------------------------------------------------------------------------------------------------

constexpr double LOG_2_PI = 1.83787706640934548356;

struct System {
    Int N, D;
    const double *A, *C, *Q, *R;
};

// What kalman_filter reads and writes.
struct Forward {
    Int T, B, b, patterns;              // patterns: 1 where the streams miss the same values, else B
    const bool* missing;                // [T, patterns, D]
    const double *net, *drive;          // [T, B, D], y_t - D u_t - d, 0 where missing; [T - 1, B, N], B u_t from the second step on, or null
    const double *mean, *covariance;    // [B, N], [b, N, N]
    double *predicted, *updated;        // means [T, B, N]
    double *P, *updated_P;              // [T, b, N, N]
    double *errors, *log_likelihood;    // [T, B, D], [T, B]
};

// The streams of one covariance; false where S is singular.
bool filter(const System& system, const Forward& of, Int group) {
    const Int N = system.N, D = system.D, streams = of.B / of.b, stream = group * streams;
    Workplace place;
    const Matrix A = copied(place, N, N, system.A), A_t = turned(place, N, N, system.A), Q = copied(place, N, N, system.Q),
                 C = copied(place, D, N, system.C), C_t = turned(place, D, N, system.C), minus_C = copied(place, D, N, system.C, -1),
                 minus_C_t = turned(place, D, N, system.C, -1), R = copied(place, D, D, system.R), one = identity(place, N),
                 P = place.matrix(N, N), updated_P = place.matrix(N, N), times = place.matrix(N, N), rest_t = place.matrix(N, N),
                 RK_t = place.matrix(D, N), updated = place.matrix(streams, N), e = place.matrix(streams, D),
                 drive = of.drive ? place.matrix(streams, N) : Matrix{nullptr, 0},
                 both = place.matrix(D, filled(D) + N),                 // [S | C P], then [V | K']
                 K_t = {both.at + filled(D), both.row};
    Matrix m = place.matrix(streams, N), next = place.matrix(streams, N);
    std::vector<double> inverses(D), factors(D), whitened(D);
    read(N, N, of.covariance + group * N * N, P);
    read(streams, N, of.mean + stream * N, m);
    for (Int t = 0; t < of.T; t++) {
        const Int matrix = (t * of.b + group) * N * N, row = t * of.B + stream;
        const bool* missing = of.missing + (t * of.patterns + (of.patterns > 1 ? stream : 0)) * D;
        Int seen = 0;
        for (Int d = 0; d < D; d++) seen += !missing[d];
        write(N, N, P, of.P + matrix);
        write(streams, N, m, of.predicted + row * N);

        Matrix after = P, mean = m;         // what is known after y_t
        if (seen) {
            product(D, N, N, C, P, K_t);
            for (Int d = 0; d < D; d++)
                if (missing[d])
                    for (Int n = 0; n < N; n++) K_t.at[d * K_t.row + n] = 0;
            product(D, N, D, K_t, C_t, R, both, UPPER);
            for (Int d = 0; d < D; d++)
                if (missing[d]) {
                    for (Int k = 0; k < D; k++) both.at[k * both.row + d] = both.at[d * both.row + k] = 0;
                    both.at[d * both.row + d] = 1;
                }
            if (!solve(D, N, both, inverses.data(), factors.data())) return false;
            product(N, D, N, minus_C.transposed(), K_t, one, rest_t);
            product(D, D, N, R, K_t, RK_t);
            product(N, D, N, K_t.transposed(), RK_t, updated_P, UPPER);
            product(N, N, N, rest_t.transposed(), P, times);
            product(N, N, N, times, rest_t, updated_P, updated_P, UPPER);
            mirror(N, updated_P);

            read(streams, D, of.net + row * D, e);
            product(streams, N, D, m, minus_C_t, e, e);
            for (Int s = 0; s < streams; s++)
                for (Int d = 0; d < D; d++)
                    if (missing[d]) e.at[s * e.row + d] = 0;
            product(streams, D, N, e, K_t, m, updated);
            after = updated_P, mean = updated;
        }
        write(N, N, after, of.updated_P + matrix);
        write(streams, N, mean, of.updated + row * N);

        double constant = seen * LOG_2_PI;
        if (seen)
            for (Int d = 0; d < D; d++) constant -= std::log(inverses[d]);
        for (Int s = 0; s < streams; s++) {
            double squares = 0;             // e' S^-1 e
            for (Int i = 0; i < D; i++) {
                double error = of.errors[(row + s) * D + i] = seen ? e.at[s * e.row + i] : 0;
                if (!seen) continue;
                for (Int k = 0; k < i; k++) error -= both.at[k * both.row + i] * whitened[k];
                whitened[i] = error * inverses[i];
                squares += error * whitened[i];
            }
            of.log_likelihood[row + s] = -0.5 * (squares + constant);
        }

        if (t + 1 == of.T) break;
        product(N, N, N, A, after, times);
        if (drive.at) read(streams, N, of.drive + row * N, drive);
        product(streams, N, N, mean, A_t, drive, next);
        std::swap(m, next);
        product(N, N, N, times, A_t, Q, P, UPPER);
        mirror(N, P);
    }
    return true;
}

// What rts_smoother reads and writes.
struct Backward {
    Int T, B, b;
    const double *predicted, *updated;      // means [T, B, N]
    const double *P, *updated_P;            // [T, b, N, N]
    double *means;                          // [T, B, N]
    double *smoothed_P, *lagged;            // [T, b, N, N]
};

// The streams of one covariance; false where P of a step is singular.
bool smooth(const System& system, const Backward& of, Int group) {
    const Int N = system.N, streams = of.B / of.b, stream = group * streams;
    Workplace place;
    const Matrix A = copied(place, N, N, system.A), minus_A = copied(place, N, N, system.A, -1), Q = copied(place, N, N, system.Q),
                 one = identity(place, N), before = place.matrix(N, N), smoothed_P = place.matrix(N, N), lagged = place.matrix(N, N),
                 noisy = place.matrix(N, N), times = place.matrix(N, N), rest_t = place.matrix(N, N), m = place.matrix(streams, N),
                 beyond = place.matrix(streams, N), updated = place.matrix(streams, N),
                 both = place.matrix(N, 2 * filled(N)),                 // [P | A P before], then [V | J']
                 J_t = {both.at + filled(N), both.row};
    std::vector<double> inverses(N), factors(N);
    for (Int t = of.T - 1; t >= 0; t--) {
        const Int matrix = (t * of.b + group) * N * N, row = t * of.B + stream;
        if (t + 1 == of.T) {
            read(N, N, of.updated_P + matrix, smoothed_P);
            read(streams, N, of.updated + row * N, m);
        } else {
            if (t >= AHEAD) {
                const Int later = matrix - AHEAD * of.b * N * N;
                prefetch<0>(of.updated_P + later, N * N);
                prefetch<0>(of.P + later, N * N);
                prefetch<1>(of.smoothed_P + later, N * N);
                prefetch<1>(of.lagged + later, N * N);
            }
            read(N, N, of.updated_P + matrix, before);
            read(N, N, of.P + matrix + of.b * N * N, both);
            product(N, N, N, A, before, J_t);
            if (!solve(N, N, both, inverses.data(), factors.data())) return false;
            product(N, N, N, minus_A.transposed(), J_t, one, rest_t);
            product(N, N, N, rest_t.transposed(), before, times);
            product(N, N, N, smoothed_P, J_t, lagged);
            product(N, N, N, Q, J_t, lagged, noisy);
            product(N, N, N, times, rest_t, smoothed_P, UPPER);
            product(N, N, N, J_t.transposed(), noisy, smoothed_P, smoothed_P, UPPER);
            mirror(N, smoothed_P);

            read(streams, N, of.predicted + (row + of.B) * N, beyond);
            for (Int s = 0; s < streams; s++)
                for (Int n = 0; n < N; n++) beyond.at[s * beyond.row + n] = m.at[s * m.row + n] - beyond.at[s * beyond.row + n];
            read(streams, N, of.updated + row * N, updated);
            product(streams, N, N, beyond, J_t, updated, m);
        }
        write(N, N, smoothed_P, of.smoothed_P + matrix);
        write(N, N, lagged, of.lagged + matrix);        // still 0 for the last step
        write(streams, N, m, of.means + row * N);
    }
    return true;
}

// Whether `pass` succeeds for all groups of streams, shared by threads.
template <class Of>
bool for_groups(bool (*pass)(const System&, const Of&, Int), const System& system, const Of& of, Int threads) {
    bool well = true;
#pragma omp parallel for num_threads(threads) reduction(&& : well) if (threads > 1 && of.b > 1)
    for (Int group = 0; group < of.b; group++) well = well && pass(system, of, group);
    return well;
}

}  // namespace

extern "C" {

bool filter_steps(const System* system, const Forward* of, Int threads) { return for_groups(filter, *system, *of, threads); }

bool smooth_steps(const System* system, const Backward* of, Int threads) { return for_groups(smooth, *system, *of, threads); }

}
