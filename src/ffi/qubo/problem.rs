//! `q_qubo`: a problem, immutable once it is built.

#![allow(clippy::too_many_arguments)] // three lists are three pointers

use crate::error::{Result, fail, try_vec};
use crate::ffi::args;
use crate::ffi::error::{choice, q_error_code};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::params::{self, Report};
use crate::ffi::types::q_type;
use crate::qubo::format::{self, Format, ReadParams};
use crate::qubo::{Problem, Sense, Structure};
use std::ffi::{c_char, c_void};

/// A problem: offset + sum a_i x_i + sum b_ij x_i x_j over x of zeros and ones. Immutable; any number of threads may share it.
pub struct q_qubo {
    _opaque: [u8; 0],
}

impl Opaque for q_qubo {
    type Value = Problem;
    type Side = ();
    const NAME: &'static str = "q_qubo";
}

/// Which values are good.
#[repr(u32)]
pub enum q_qubo_sense {
    /// Small ones.
    Q_QUBO_MINIMIZE = 0,
    /// Great ones.
    Q_QUBO_MAXIMIZE = 1,
}

/// Forms of files.
#[repr(u32)]
pub enum q_qubo_format {
    /// What the file looks like, where that leaves no doubt.
    Q_QUBO_FORMAT_GUESS = 0,
    /// Max-Cut as in Gset (rudy); maximises the weight of the cut.
    Q_QUBO_FORMAT_GSET = 1,
    /// OR-Library; maximises.
    Q_QUBO_FORMAT_ORLIB = 2,
    /// qbsolv; minimises, as those that follow.
    Q_QUBO_FORMAT_QBSOLV = 3,
    /// dimod's coordinates, with their header.
    Q_QUBO_FORMAT_COO = 4,
    /// dimod's JSON.
    Q_QUBO_FORMAT_BQM = 5,
    /// bqpjson.
    Q_QUBO_FORMAT_BQPJSON = 6,
    /// The JSON of Azure's quantum-inspired optimization.
    Q_QUBO_FORMAT_QIO = 7,
}

/// Kinds of graphs that couplings make.
#[repr(u32)]
pub enum q_qubo_structure {
    /// No couplings.
    Q_QUBO_FREE = 0,
    /// Couplings are kept as a matrix.
    Q_QUBO_DENSE = 1,
    /// Few neighbours each, and a long way from one end to the other.
    Q_QUBO_GRID = 2,
    /// Any other.
    Q_QUBO_SPARSE = 3,
}

/// What a problem is like.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_qubo_info {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// Variables.
    pub variables: u32,
    /// Pairs of variables with a coupling.
    pub couplings: u64,
    /// Share of all pairs that have one.
    pub density: f64,
    /// What is added to every value.
    pub offset: f64,
    /// Bytes of the coefficients.
    pub bytes: u64,
    /// A q_qubo_sense.
    pub sense: u32,
    /// 1 when all coefficients are whole numbers kept exactly.
    pub exact: u32,
    /// A q_qubo_structure.
    pub structure: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_qubo_info {
    const NAME: &'static str = "q_qubo_info";
}

fn sense_of(sense: u32) -> Result<Sense> {
    let [min, max] = [q_qubo_sense::Q_QUBO_MINIMIZE, q_qubo_sense::Q_QUBO_MAXIMIZE].map(|s| s as u32);
    choice("sense", sense, &[(min, Sense::Minimize), (max, Sense::Maximize)])
}

/// Triplets of three lists of the host's.
unsafe fn triplets<T: Copy>(
    i: *const u32,
    j: *const u32,
    values: *const T,
    count: usize,
) -> Result<Vec<(u32, u32, T)>> {
    // SAFETY: the host's pointers.
    let (i, j, values) =
        unsafe { (args::slice(i, count, "i")?, args::slice(j, count, "j")?, args::slice(values, count, "values")?) };
    let mut list = try_vec(count, "triplets")?;
    list.extend(i.iter().zip(j).zip(values).map(|((&i, &j), &value)| (i, j, value)));
    Ok(list)
}

/// Builds a problem of `n` variables from `count` triplets: values[k] x_i[k] x_j[k], and values[k] x_i[k] where i[k] = j[k]. Those that
/// come twice are summed, and (i, j) is (j, i). `sense` is a q_qubo_sense. Whole numbers whose sums fit stay exact.
/// Errors: Q_ERR_INVALID_ARGUMENT for an index out of range; Q_ERR_NOT_FINITE; Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_create(
    n: u32,
    i: *const u32,
    j: *const u32,
    values: *const f64,
    count: usize,
    offset: f64,
    sense: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        let list = triplets(i, j, values, count)?;
        handle::create(Problem::from_triplets(n as usize, &list, offset, sense_of(sense)?)?, (), qubo)
    })
}

/// As q_qubo_create, of whole numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_create_int(
    n: u32,
    i: *const u32,
    j: *const u32,
    values: *const i64,
    count: usize,
    offset: f64,
    sense: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        let list = triplets(i, j, values, count)?;
        handle::create(Problem::from_triplets(n as usize, &list, offset, sense_of(sense)?)?, (), qubo)
    })
}

/// The problem of a matrix, copied or viewed.
///
/// # Safety
/// The host's pointer, and of a view as long as the problem and its solvers last.
unsafe fn dense(n: u32, matrix: *const c_void, ty: u32, (offset, sense): (f64, u32), view: bool) -> Result<Problem> {
    let sense = sense_of(sense)?;
    let n = n as usize;
    let Some(cells) = n.checked_mul(n) else { fail!(InvalidArgument, "a matrix of {n} by {n} cannot be") };
    macro_rules! of {
        ($ty:ty) => {{
            // SAFETY: the caller's promise.
            let q: &'static [$ty] = unsafe { args::slice(matrix.cast(), cells, "matrix") }?;
            if view { Problem::view::<$ty, _>(n, q, offset, sense) } else { Problem::from_dense(n, q, offset, sense) }
        }};
    }
    const F64: u32 = q_type::Q_TYPE_F64 as u32;
    const F32: u32 = q_type::Q_TYPE_F32 as u32;
    const I64: u32 = q_type::Q_TYPE_I64 as u32;
    const I32: u32 = q_type::Q_TYPE_I32 as u32;
    const I16: u32 = q_type::Q_TYPE_I16 as u32;
    const I8: u32 = q_type::Q_TYPE_I8 as u32;
    match ty {
        F64 => of!(f64),
        F32 => of!(f32),
        I64 => of!(i64),
        I32 => of!(i32),
        I16 => of!(i16),
        I8 => of!(i8),
        other => fail!(InvalidArgument, "type is {other}: give Q_TYPE_F64, F32, I64, I32, I16 or I8"),
    }
}

/// Builds the problem x'Qx of a dense row-major matrix of n by n elements of `type`: Q_TYPE_F64, F32, I64, I32, I16 or I8. Entries at
/// (i, j) and (j, i) add up. The matrix is read during the call; the problem keeps its numbers in the narrowest type that holds them.
/// Errors: as q_qubo_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_create_dense(
    n: u32,
    matrix: *const c_void,
    r#type: u32,
    offset: f64,
    sense: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        handle::create(dense(n, matrix, r#type, (offset, sense), false)?, (), qubo)
    })
}

/// As q_qubo_create_dense, but the problem is a view: the matrix stays where it is and has to stay as it is until the problem and all its
/// solvers are freed. Values are computed from it; q_qubo_info.bytes has only the diagonal, and what a solver packs of it is in its plan,
/// as `weights_resident`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_create_view(
    n: u32,
    matrix: *const c_void,
    r#type: u32,
    offset: f64,
    sense: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        handle::create(dense(n, matrix, r#type, (offset, sense), true)?, (), qubo)
    })
}

/// Builds the problem of an Ising model, offset + sum h_i s_i + sum J_ij s_i s_j over spins s = 2x - 1: `n` fields, which may be
/// NULL for none, and `count` couplings as in q_qubo_create. Errors: as there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_create_ising(
    n: u32,
    h: *const f64,
    i: *const u32,
    j: *const u32,
    couplings: *const f64,
    count: usize,
    offset: f64,
    sense: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        let mut fields: Vec<f64> = try_vec(n as usize, "fields")?;
        if h.is_null() {
            fields.resize(n as usize, 0.0);
        } else {
            fields.extend_from_slice(args::slice(h, n as usize, "h")?);
        }
        let list = triplets(i, j, couplings, count)?;
        handle::create(Problem::from_ising(&fields, &list, offset, sense_of(sense)?)?, (), qubo)
    })
}

/// Reads a problem from the file at `path` (`len` bytes). `format` is a q_qubo_format. Its values are those of the file's own
/// sense. Errors: Q_ERR_NOT_FOUND; Q_ERR_IO; Q_ERR_FORMAT, which names line, expected and found; Q_ERR_INVALID_ARGUMENT when the form
/// cannot be told; Q_ERR_UNSUPPORTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_load(
    path: *const c_char,
    len: usize,
    format: u32,
    qubo: *mut *mut q_qubo,
) -> q_error_code {
    ffi!({
        handle::check_out(qubo)?;
        let forms: [(u32, Option<Format>); 8] = [
            (q_qubo_format::Q_QUBO_FORMAT_GUESS as u32, None),
            (q_qubo_format::Q_QUBO_FORMAT_GSET as u32, Some(Format::Gset)),
            (q_qubo_format::Q_QUBO_FORMAT_ORLIB as u32, Some(Format::Orlib)),
            (q_qubo_format::Q_QUBO_FORMAT_QBSOLV as u32, Some(Format::Qbsolv)),
            (q_qubo_format::Q_QUBO_FORMAT_COO as u32, Some(Format::Coo)),
            (q_qubo_format::Q_QUBO_FORMAT_BQM as u32, Some(Format::Bqm)),
            (q_qubo_format::Q_QUBO_FORMAT_BQPJSON as u32, Some(Format::Bqpjson)),
            (q_qubo_format::Q_QUBO_FORMAT_QIO as u32, Some(Format::Qio)),
        ];
        let params = ReadParams { format: choice("format", format, &forms)?, ..ReadParams::default() };
        let instance = format::read(args::path(path, len, "path")?, &params)?;
        handle::create(instance.problem()?, (), qubo)
    })
}

/// What a problem is like. `size` is sizeof(q_qubo_info).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_describe(qubo: *const q_qubo, info: *mut q_qubo_info, size: usize) -> q_error_code {
    ffi!({
        let problem = handle::shared(qubo)?;
        let sense = match problem.sense() {
            Sense::Minimize => q_qubo_sense::Q_QUBO_MINIMIZE,
            Sense::Maximize => q_qubo_sense::Q_QUBO_MAXIMIZE,
        };
        let structure = match Structure::of(&problem)? {
            Structure::Free => q_qubo_structure::Q_QUBO_FREE,
            Structure::Dense => q_qubo_structure::Q_QUBO_DENSE,
            Structure::Grid => q_qubo_structure::Q_QUBO_GRID,
            Structure::Sparse => q_qubo_structure::Q_QUBO_SPARSE,
        };
        let found = q_qubo_info {
            size: 0,
            variables: problem.len() as u32,
            couplings: problem.couplings() as u64,
            density: problem.density(),
            offset: problem.offset(),
            bytes: problem.bytes() as u64,
            sense: sense as u32,
            exact: problem.is_exact().into(),
            structure: structure as u32,
            reserved: 0,
        };
        params::report(found, info, size)
    })
}

/// The value of an assignment: `len` bytes at `x`, one for each variable, any but 0 counting as 1. Allocates nothing.
/// Errors: Q_ERR_SHAPE unless `len` is the number of variables.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_energy(
    qubo: *const q_qubo,
    x: *const u8,
    len: usize,
    energy: *mut f64,
) -> q_error_code {
    ffi!({
        let problem = handle::shared(qubo)?;
        if len != problem.len() {
            fail!(Shape, "{len} elements for {} variables", problem.len());
        }
        args::put(energy, problem.energy(args::slice(x, len, "x")?), "energy")
    })
}

/// Frees a problem; NULL is nothing. Solvers made of it live on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_free(qubo: *mut q_qubo) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(qubo) }
}
