//! One invariant a file, named after its rule in DESIGN §4. Each says yes, or what it has seen.
//!
//! R3 and R5 are one file: who may answer. R8 needs an operator's override, which nobody can give yet;
//! R10 is clusterfs's own and is checked by that crate's crash images; R11 shows in [`r2`] when a
//! failed flush is believed; R12 and R13 belong to the mail operations, above these cores.

pub mod growth;
pub mod identical;
pub mod liveness;
pub mod r1;
pub mod r2;
pub mod r4;
pub mod r5;
pub mod r6;
pub mod r7;
pub mod r9;

/// What a checker has to say: nothing, or what it saw.
pub type Verdict = Result<(), String>;

/// The checkers that remember something.
#[derive(Debug, Default)]
pub struct Checkers {
    /// What was promised, sector by sector.
    pub r2: [r2::Oracle; 2],
    /// Which epochs were reported.
    pub r4: r4::Epochs,
    /// Fences within one cut.
    pub r6: r6::Cut,
}
