//! One invariant a file, named after its rule in DESIGN §4. Each says yes, or what it has seen.
//!
//! What of a rule the model cannot show, others check: the log itself (R10) is clusterfs's own, with its
//! crash images; nobody can give an operator's override yet (R8); R12 and R13 belong to the mail
//! operations, above these cores.

pub mod growth;
pub mod identical;
pub mod liveness;
pub mod r1;
pub mod r10;
pub mod r11;
pub mod r2;
pub mod r3;
pub mod r4;
pub mod r5;
pub mod r6;
pub mod r7;
pub mod r8;
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
    /// Who could have a lease.
    pub r8: r8::Majorities,
    /// Which copies are half overwritten.
    pub r9: r9::Marks,
}
