//! What the payers and the model know: the figures that the books are held against.

use std::collections::{BTreeMap, BTreeSet};
use weir_core::{Channel, ChannelId, Standing};

/// How far a charge has come, as far as answers have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asked for; no answer yet.
    Asked,
    /// The reservation was acknowledged.
    Reserved,
    /// The commit was asked for; no answer yet.
    Committing,
    /// The commit was acknowledged: a receipt has left.
    Committed,
    /// The till was told that the body is out.
    Finishing,
    /// The till was told that the body was cut.
    Crediting,
    /// The release was asked for.
    Releasing,
}

#[derive(Debug, Clone, Copy)]
struct Charge {
    amount: u128,
    stage: Stage,
}

impl Charge {
    /// (spent, credited) that this charge may stand for in the books of a running till.
    fn in_life(self) -> &'static [(bool, bool)] {
        match self.stage {
            Stage::Asked | Stage::Reserved | Stage::Releasing => &[(false, false)],
            Stage::Committing => &[(false, false), (true, false)],
            Stage::Committed | Stage::Finishing => &[(true, false)],
            Stage::Crediting => &[(true, false), (true, true)],
        }
    }

    /// The same after a restart, which commits what was reserved.
    fn after_crash(self) -> &'static [(bool, bool)] {
        match self.stage {
            Stage::Asked | Stage::Releasing => &[(false, false), (true, false)],
            Stage::Reserved | Stage::Committing | Stage::Committed | Stage::Finishing => &[(true, false)],
            Stage::Crediting => &[(true, false), (true, true)],
        }
    }
}

/// One channel's figures.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Of charges that are over beyond doubt.
    spent: u128,
    credited: u128,
    charges: BTreeMap<u64, Charge>,
    /// The highest total that the payer has signed.
    pub(crate) authorised: u128,
    /// The highest accepted total that was acknowledged.
    pub(crate) accepted: u128,
    /// The deposit that counts, as the till was last told.
    pub(crate) deposit: u128,
    /// The payer asked to close at some time: from then on a cut body may stay charged.
    pub(crate) left: bool,
}

impl Account {
    fn sums(&self, cases: impl Fn(Charge) -> &'static [(bool, bool)]) -> BTreeSet<(u128, u128)> {
        let mut sums = BTreeSet::from([(self.spent, self.credited)]);
        for charge in self.charges.values() {
            let one = |spends: bool| if spends { charge.amount } else { 0 };
            sums = sums
                .iter()
                .flat_map(|(spent, credited)| {
                    cases(*charge)
                        .iter()
                        .map(move |(spend, credit)| (spent + one(*spend), credited + one(*credit)))
                })
                .collect();
        }
        sums
    }

    /// What was delivered or may yet be, by acknowledged answers alone.
    fn committed(&self) -> u128 {
        let open = self
            .charges
            .values()
            .filter(|charge| !matches!(charge.stage, Stage::Asked | Stage::Releasing | Stage::Crediting));
        self.spent - self.credited + open.map(|charge| charge.amount).sum::<u128>()
    }

    /// The most that may be captured now: what is committed, and whose body is out.
    pub(crate) fn capturable(&self) -> u128 {
        let out = self.charges.values().filter(|charge| match charge.stage {
            Stage::Finishing => true,
            Stage::Committing | Stage::Committed | Stage::Crediting => self.left,
            _ => false,
        });
        self.spent - self.credited + out.map(|charge| charge.amount).sum::<u128>()
    }

    /// Whether this may be all that was earned, once nothing is open.
    pub(crate) fn may_have_earned(&self, amount: u128) -> bool {
        let possible = self.sums(Charge::in_life);
        possible
            .iter()
            .any(|(spent, credited)| spent - credited == amount)
    }

    pub(crate) fn has_open_charges(&self) -> bool {
        let decided = |charge: &Charge| self.left && charge.stage == Stage::Crediting;
        !self.charges.values().all(decided)
    }
}

/// All channels' figures.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<ChannelId, Account>,
    next_charge: u64,
}

impl Ledger {
    pub(crate) fn account(&mut self, id: ChannelId) -> &mut Account {
        self.accounts.entry(id).or_default()
    }

    pub(crate) fn ask(&mut self, id: ChannelId, amount: u128, cumulative: u128) -> u64 {
        self.next_charge += 1;
        let number = self.next_charge;
        let account = self.account(id);
        account.authorised = account.authorised.max(cumulative);
        let stage = Stage::Asked;
        account.charges.insert(number, Charge { amount, stage });
        number
    }

    pub(crate) fn stage(&mut self, id: ChannelId, number: u64, stage: Stage) {
        if let Some(charge) = self.account(id).charges.get_mut(&number) {
            charge.stage = stage;
        }
    }

    /// The charge is known not to be, or to be no more.
    pub(crate) fn forget(&mut self, id: ChannelId, number: u64) {
        self.account(id).charges.remove(&number);
    }

    /// A durable answer about a channel arrived.
    pub(crate) fn acknowledged(&mut self, channel: &Channel) {
        let account = self.account(channel.id());
        account.accepted = account.accepted.max(channel.accepted().base_units());
    }

    /// Everything that was told to the till by now is on the disk.
    pub(crate) fn synced(&mut self) {
        for account in self.accounts.values_mut() {
            let (spent, credited, left) = (&mut account.spent, &mut account.credited, account.left);
            account.charges.retain(|_, charge| {
                match charge.stage {
                    Stage::Finishing => *spent += charge.amount,
                    Stage::Crediting if !left => {
                        *spent += charge.amount;
                        *credited += charge.amount;
                    }
                    Stage::Releasing => {}
                    _ => return true,
                }
                false
            });
        }
    }

    /// Holds a running till's channel against the figures.
    pub(crate) fn check(&mut self, channel: &Channel) -> Result<(), String> {
        let account = self.account(channel.id());
        let found = figures(channel);
        let possible = account.sums(Charge::in_life);
        if !possible.contains(&found) {
            return Err(format!(
                "CH-6: the books say {found:?}, the charges add up to {possible:?}"
            ));
        }
        check_authority(account, channel)
    }

    /// Holds a channel that a restart read back against the figures, and takes over what was open until then.
    pub(crate) fn reconcile(&mut self, channel: &Channel) -> Result<(), String> {
        let account = self.account(channel.id());
        let found = figures(channel);
        let possible = account.sums(Charge::after_crash);
        if !possible.contains(&found) {
            return Err(format!(
                "CH-4, CH-6: after a restart the books say {found:?}, the charges add up to {possible:?}"
            ));
        }
        if !channel.charges().is_empty() {
            return Err("CH-6: a charge is open after a restart".to_owned());
        }
        (account.spent, account.credited) = found;
        account.charges.clear();
        check_authority(account, channel)
    }

    /// A restart did not find this channel.
    pub(crate) fn reconcile_missing(&mut self, id: ChannelId) -> Result<(), String> {
        let account = self.account(id);
        let told = account
            .charges
            .values()
            .any(|charge| charge.stage != Stage::Asked);
        if told || account.accepted > 0 || account.spent > 0 {
            return Err(format!("CH-4: {id} was acknowledged and is not in the books"));
        }
        account.charges.clear();
        Ok(())
    }
}

fn figures(channel: &Channel) -> (u128, u128) {
    (channel.spent().base_units(), channel.credited().base_units())
}

fn check_authority(account: &Account, channel: &Channel) -> Result<(), String> {
    let accepted = channel.accepted().base_units();
    let committed = channel.net_spent().base_units() + channel.reserved().base_units();
    if accepted < account.accepted {
        return Err(format!(
            "CH-4: {accepted} is accepted, {} was acknowledged",
            account.accepted
        ));
    }
    if accepted > account.authorised {
        return Err(format!(
            "CH-2: {accepted} is accepted, {} was signed",
            account.authorised
        ));
    }
    if committed > accepted || account.committed() > account.authorised {
        return Err(format!(
            "CH-2: {committed} is committed, {accepted} is accepted: {account:?}"
        ));
    }
    // Reorganisations stay above the final block, so nothing that counted is ever taken away.
    if channel.standing() == Standing::Frozen || (accepted > account.deposit && account.deposit > 0) {
        return Err(format!(
            "CH-1: {accepted} is accepted on a deposit of {}",
            account.deposit
        ));
    }
    Ok(())
}
