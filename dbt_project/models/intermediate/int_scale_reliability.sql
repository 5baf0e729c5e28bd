-- Cronbach's alpha (1951), and omega of the one-factor model by Spearman's triads (1927; Hancock & An 2020, closed
-- form): the squared loading of item i is the sum of s(ij)·s(ik) over the sum of s(jk), over all pairs of other items j
-- < k. Complete answers only. Covariances are kept as whole numbers, n (n - 1) times themselves: their sums do not
-- depend on any order.
with score as (
    select
        wave,
        rater,
        scale,
        form,
        n_items,
        item_values,
        {{ in_millionths("score") }} as score_millionths,
    from {{ ref("int_scale_score") }}
    where form is not null
),

place as (
    select unnest(range(1, max(n_items) + 1)) as place,
    from score
),

product as (
    -- one answer to the pairs of its items; as many answers as there are answers alike
    select
        score.wave,
        score.rater,
        score.scale,
        score.form,
        one.place as i,
        other.place as j,
        cast(count(*) as hugeint) as n,
        cast(sum(score.item_values[one.place] * score.item_values[other.place]) as hugeint) as products,
        cast(sum(score.item_values[one.place]) as hugeint) as sum_i,
        cast(sum(score.item_values[other.place]) as hugeint) as sum_j,
    from score
    inner join place as one on score.n_items >= one.place
    inner join place as other on one.place <= other.place and score.n_items >= other.place
    where score.item_values is not null
    group by all
),

-- each pair both ways round, so that an item meets every other
covariance as (
    select
        wave,
        rater,
        scale,
        form,
        i,
        j,
        n,
        n * products - sum_i * sum_j as covariance,
    from product
    union all
    select
        wave,
        rater,
        scale,
        form,
        j as i,
        i as j,
        n,
        n * products - sum_i * sum_j as covariance,
    from product
    where i < j
),

item as (
    select
        wave,
        rater,
        scale,
        form,
        i,
        max(n) as n,
        sum(covariance) filter (where i = j) as variance,
        sum(covariance) filter (where i <> j) as with_others,
        sum(covariance * covariance) filter (where i <> j) as with_others_squared,
    from covariance
    group by all
),

total as (
    select
        wave,
        rater,
        scale,
        form,
        cast(count(*) as integer) as n_items,
        cast(max(n) as integer) as n_complete,
        sum(variance) as item_variances,
        sum(variance + coalesce(with_others, 0)) as variance,
        coalesce(sum(with_others), 0) / 2 as covariances,
    from item
    group by all
),

loading as (
    -- many to one
    select
        item.wave,
        item.rater,
        item.scale,
        item.form,
        item.i,
        item.variance,
        case when item.with_others < 0 then -1 else 1 end as sign,
        cast(item.with_others * item.with_others - item.with_others_squared as double)
        / nullif(2 * (total.covariances - item.with_others), 0) as squared_loading,
    from item
    inner join total
        on
            item.wave = total.wave
            and item.rater = total.rater
            and item.scale = total.scale
            and item.form = total.form
    where total.n_items > 2
),

factor as (
    select
        wave,
        rater,
        scale,
        form,
        bool_and(coalesce(squared_loading >= 0 and squared_loading <= variance, false)) as is_proper,
        list(sign * sqrt(greatest(squared_loading, 0)) order by i asc) as loadings,
        list(variance - squared_loading order by i asc) as uniquenesses,
    from loading
    group by all
),

spread as (
    select
        wave,
        rater,
        scale,
        form,
        cast(count(score_millionths) as integer) as n_scores,
        {{ scaled_squares("score_millionths") }} as scaled_squares,
    from score
    group by all
)

-- one to one
select
    spread.wave,
    spread.rater,
    spread.scale,
    spread.form,
    coalesce(total.n_complete, 0) as n_complete,
    case
        when total.n_complete > 1 and total.variance > 0 and total.n_items > 1
            then
                (total.n_items / cast(total.n_items - 1 as double))
                * (1 - cast(total.item_variances as double) / cast(total.variance as double))
    end as alpha,
    case
        when total.n_complete > 1 and factor.is_proper
            then
                power(list_sum(factor.loadings), 2)
                / (power(list_sum(factor.loadings), 2) + list_sum(factor.uniquenesses))
    end as omega,
    spread.n_scores,
    case
        when spread.n_scores > 1
            then
                sqrt(
                    cast(spread.scaled_squares as double)
                    / (cast(spread.n_scores as double) * (spread.n_scores - 1))
                )
                / 1000000
    end as score_sd,
from spread
left join total
    on
        spread.wave = total.wave
        and spread.rater = total.rater
        and spread.scale = total.scale
        and spread.form = total.form
left join factor
    on
        spread.wave = factor.wave
        and spread.rater = factor.rater
        and spread.scale = factor.scale
        and spread.form = factor.form
