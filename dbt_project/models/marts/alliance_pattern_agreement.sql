-- Cohen (1960): kappa = (observed - expected) / (1 - expected), here times the square of n, so in whole numbers until
-- the end.
with judged as (
    select
        supervision_id,
        rater,
        scale,
        span,
        rule,
        pattern,
    from {{ ref("alliance_change") }}
    where pattern is not null
),

pair as (
    -- one pattern to those of the other rules
    select
        one.rater,
        one.scale,
        one.span,
        one.rule as rule_one,
        other.rule as rule_other,
        one.pattern as pattern_one,
        other.pattern as pattern_other,
        count(*) as n,
    from judged as one
    inner join judged as other
        on
            one.supervision_id = other.supervision_id
            and one.rater = other.rater
            and one.scale = other.scale
            and one.span = other.span
            and one.rule < other.rule
    group by all
),

margin as (
    select
        rater,
        scale,
        span,
        rule_one,
        rule_other,
        pattern_one as pattern,
        sum(n) as n_one,
        0 as n_other,
    from pair
    group by all
    union all
    select
        rater,
        scale,
        span,
        rule_one,
        rule_other,
        pattern_other as pattern,
        0 as n_one,
        sum(n) as n_other,
    from pair
    group by all
),

by_pattern as (
    select
        rater,
        scale,
        span,
        rule_one,
        rule_other,
        pattern,
        sum(n_one) * sum(n_other) as expected,
    from margin
    group by all
),

expected as (
    select
        rater,
        scale,
        span,
        rule_one,
        rule_other,
        sum(expected) as expected,
    from by_pattern
    group by all
),

observed as (
    select
        rater,
        scale,
        span,
        rule_one,
        rule_other,
        sum(n) as n,
        coalesce(sum(n) filter (where pattern_one = pattern_other), 0) as n_agree,
    from pair
    group by all
)

-- one to one
select
    observed.rater,
    observed.scale,
    observed.span,
    observed.rule_one,
    observed.rule_other,
    cast(observed.n as integer) as n,
    cast(observed.n_agree as double) / cast(observed.n as double) as observed_agreement,
    cast(observed.n * observed.n_agree - expected.expected as double)
    / nullif(cast(observed.n * observed.n - expected.expected as double), 0) as kappa,
from observed
inner join expected
    on
        observed.rater = expected.rater
        and observed.scale = expected.scale
        and observed.span = expected.span
        and observed.rule_one = expected.rule_one
        and observed.rule_other = expected.rule_other
